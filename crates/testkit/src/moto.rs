//! moto behind a launcher that closes the departures from AWS that our protocol depends on.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::tool::{self, Tool};

const START_DEADLINE: Duration = Duration::from_mins(1);

/// A running moto server. Killed when dropped.
#[derive(Debug)]
pub struct Moto {
    endpoint: String,
    child: Child,
}

impl Moto {
    /// Starts moto on a free port of 127.0.0.1, or notes that `test` was not run for want of it.
    ///
    /// # Panics
    ///
    /// If it does not come up within a minute.
    pub fn start(test: &str) -> Option<Self> {
        let python = tool::find(Tool::MotoPython, test)?;
        let launcher = Path::new(env!("CARGO_MANIFEST_DIR")).join("moto/launcher.py");
        let mut child = Command::new(python)
            .arg(launcher)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start moto");
        let lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        let (found, address) = mpsc::channel();
        // Goes on reading, so that moto never waits for a full pipe.
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, url)) = line.split_once("Running on ") {
                    // The test may have given up.
                    let _ = found.send(url.trim().to_owned());
                }
            }
        });
        let address = address.recv_timeout(START_DEADLINE);
        let mut moto = Self { endpoint: String::new(), child };
        moto.endpoint = address.expect("moto says where it runs within a minute");
        Some(moto)
    }

    /// What `AWS_ENDPOINT_URL` is set to.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

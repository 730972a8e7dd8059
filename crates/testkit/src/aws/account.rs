//! The account of a double that outlives its process: what it holds is in a file before a call is answered.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{CloudMap, Secrets, World, wire};

const FILE: &str = "account.json";

/// Secrets Manager and Cloud Map of one account, kept in a directory.
pub(crate) struct Account {
    world: Arc<Mutex<World>>,
    file: PathBuf,
    /// What the file holds. Locked while a call is answered, so that calls are kept in the order in which they had their effect.
    kept: tokio::sync::Mutex<String>,
}

impl Account {
    /// Reads what the directory holds, which may be nothing, and has `deploy` add what CloudFormation would have made.
    pub(crate) fn open(directory: &Path, deploy: impl FnOnce(&mut Secrets, &mut CloudMap)) -> io::Result<Self> {
        let file = directory.join(FILE);
        let mut world = World::default();
        match fs::read_to_string(&file) {
            Ok(text) => world.restore(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        deploy(&mut world.secrets, &mut world.cloud_map);
        let kept = world.kept();
        write(&file, &kept)?;
        Ok(Self { world: Arc::new(Mutex::new(world)), file, kept: tokio::sync::Mutex::new(kept) })
    }

    /// Answers a request to either service. What it changed is kept first; if that fails, the caller gets no answer.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let mut kept = self.kept.lock().await;
        let Ok(response) = wire::answer(Arc::clone(&self.world), request).await;
        let now = self.world.lock().expect("no call panics while it holds the world").kept();
        if *kept != now {
            write(&self.file, &now)?;
            *kept = now;
        }
        Ok(response)
    }
}

impl World {
    fn kept(&mut self) -> String {
        // Who called is for tests, which have a double of their own.
        self.calls.clear();
        json!({"secrets": self.secrets.kept(), "cloudMap": self.cloud_map.kept()}).to_string()
    }

    fn restore(&mut self, text: &str) -> io::Result<()> {
        let mut kept: Value = serde_json::from_str(text)?;
        self.secrets.restore(kept["secrets"].take())?;
        self.cloud_map.restore(kept["cloudMap"].take())?;
        Ok(())
    }
}

/// All of it or nothing, also when the machine loses power.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let new = file.with_extension("new");
    let mut writer = File::create(&new)?;
    writer.write_all(text.as_bytes())?;
    writer.sync_all()?;
    fs::rename(&new, file)?;
    file.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

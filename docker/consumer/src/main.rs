//! A service that uses the database, to be copied: it needs to know one thing, the name of its secret. In it are the address, the
//! login and the roots to trust, and all of them change: passwords are rotated, and so is the certificate authority.
//!
//! Three rules make a consumer that nobody has to restart:
//! - read the secret again when the database refuses the password or shows a certificate that is not trusted, and try once
//!   more with what is new in it;
//! - read it now and then anyway, for a new root is in it before the servers use it;
//! - resolve the name anew for every connection: it has the nodes that are ready, and they come and go.
//!
//! A client of the database does the same with `connectionString` in place of the requests here.

mod database;
mod secret;

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use database::{Database, DatabaseError};
use secret::Secrets;

/// Between two pieces of work.
const WORK: Duration = Duration::from_secs(2);
/// How old what is known of the secret may become. Secrets Manager is paid by the call, and rotations leave more time than that.
const REREAD: Duration = Duration::from_mins(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Ok(name) = std::env::var("DATABASE_SECRET") else {
        say("DATABASE_SECRET is not set; it is the name or the ARN of the secret with the credentials");
        return ExitCode::from(2);
    };
    match run(&name).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("could not listen for signals: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Works until it is told to end.
async fn run(name: &str) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        () = work(name) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

async fn work(name: &str) {
    let secrets = Secrets::new(name).await;
    let mut known: Option<(Database, Instant)> = None;
    let mut shown = String::new();
    loop {
        let done = once(&secrets, &mut known).await;
        // Every change is told once.
        if done != shown {
            say(&done);
            shown = done;
        }
        sleep(WORK).await;
    }
}

/// One piece of work, with a secret that is read anew if it is old or of no use any more. Gives what there is to tell.
async fn once(secrets: &Secrets, known: &mut Option<(Database, Instant)>) -> String {
    let mut fresh = false;
    loop {
        if known.as_ref().is_none_or(|(_, read)| read.elapsed() > REREAD) {
            match secrets
                .read()
                .await
                .map_err(|error| error.to_string())
                .and_then(|credentials| Database::new(credentials).map_err(|error| error.to_string()))
            {
                Ok(database) => *known = Some((database, Instant::now())),
                // What is known may still be good.
                Err(error) if known.is_none() => return format!("waiting for the secret: {error}"),
                Err(_) => {}
            }
            fresh = true;
        }
        let Some((database, _)) = known.as_ref() else { return "waiting for the secret".to_owned() };
        match database.who_am_i().await {
            Ok(login) => return format!("logged in as {login} at {}", database.url()),
            Err(DatabaseError::Refused | DatabaseError::Unreachable(_)) if !fresh => *known = None,
            Err(error) => return format!("not logged in: {error}"),
        }
    }
}

fn say(line: &str) {
    eprintln!("consumer: {line}");
}

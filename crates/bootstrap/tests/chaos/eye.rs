//! Sees everything that the processes of a run show of themselves, and searches it for passwords.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How often `/proc` is read of every process.
const PERIOD: Duration = Duration::from_millis(100);

/// What a server starts with; none of our programs has a reason to print it.
const FACTORY_DEFAULT: &str = "changeit";

#[derive(Debug, Default)]
pub(crate) struct Eye {
    /// Distinct texts, by what showed them.
    texts: Mutex<BTreeMap<String, BTreeSet<String>>>,
    watched: Mutex<BTreeSet<u32>>,
    /// Login names and passwords that went together at some time.
    used: Mutex<BTreeSet<(String, String)>>,
}

impl Eye {
    pub(crate) fn open() -> Arc<Self> {
        let eye = Arc::new(Self::default());
        let seeing = Arc::downgrade(&eye);
        thread::spawn(move || {
            while let Some(eye) = Weak::upgrade(&seeing) {
                eye.look();
                drop(eye);
                thread::sleep(PERIOD);
            }
        });
        eye
    }

    /// Looks at a process now and from now on.
    pub(crate) fn watch(&self, id: u32) {
        self.watched.lock().unwrap().insert(id);
        self.look_at(id);
    }

    pub(crate) fn forget(&self, id: u32) {
        self.watched.lock().unwrap().remove(&id);
    }

    /// Something that was shown.
    pub(crate) fn note(&self, by: &str, text: &str) {
        self.texts.lock().unwrap().entry(by.to_owned()).or_default().insert(text.to_owned());
    }

    /// A password that was stored or set at some time.
    pub(crate) fn learn(&self, login: &str, password: &str) {
        self.used.lock().unwrap().insert((login.to_owned(), password.to_owned()));
    }

    fn look(&self) {
        // Held, so that none is reaped and its id given to another process while it is looked at.
        let watched = self.watched.lock().unwrap();
        watched.iter().for_each(|id| self.look_at(*id));
    }

    fn look_at(&self, id: u32) {
        for file in ["cmdline", "environ"] {
            match fs::read(format!("/proc/{id}/{file}")) {
                Ok(bytes) => self.note(&format!("/proc/PID/{file}"), &String::from_utf8_lossy(&bytes)),
                // Only root sees the environment of a process that cannot be looked into.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    self.note(&format!("/proc/PID/{file}"), "refused");
                }
                // It has ended.
                Err(_) => {}
            }
        }
    }

    /// How many passwords were used.
    pub(crate) fn passwords(&self) -> usize {
        self.used.lock().unwrap().len()
    }

    /// One of the passwords that were used.
    pub(crate) fn any_password(&self) -> String {
        let used = self.used.lock().unwrap();
        used.first().map(|(_, password)| password.clone()).expect("passwords were used")
    }

    /// How many distinct texts were seen of `by`.
    pub(crate) fn seen(&self, by: &str) -> usize {
        let texts = self.texts.lock().unwrap();
        texts.iter().filter(|(name, _)| name.starts_with(by)).map(|(_, texts)| texts.len()).sum()
    }

    /// Who has shown a password, alone or as it goes over the wire, and whose.
    pub(crate) fn find(&self) -> BTreeSet<(String, String)> {
        let used = self.used.lock().unwrap();
        let mut needles: Vec<_> = used.iter().flat_map(|(login, password)| forms(login, password)).collect();
        for login in ["admin", "ops"] {
            needles.extend(forms(login, FACTORY_DEFAULT));
        }
        let texts = self.texts.lock().unwrap();
        let mut found = BTreeSet::new();
        for (by, text) in texts.iter().flat_map(|(by, texts)| texts.iter().map(move |text| (by, text))) {
            let shown = needles.iter().filter(|(_, needle)| text.contains(needle.as_str()));
            found.extend(shown.map(|(login, _)| (by.clone(), login.clone())));
        }
        found
    }
}

/// The password as it is, and as Basic authentication has it.
fn forms(login: &str, password: &str) -> [(String, String); 2] {
    let basic = STANDARD.encode(format!("{login}:{password}"));
    [(login.to_owned(), password.to_owned()), (login.to_owned(), basic)]
}

#[test]
fn what_is_shown_is_found() {
    let eye = Eye::default();
    eye.learn("orders", "Vb3kq9");
    eye.note("quiet", "user=\"orders\" version=1");
    assert!(eye.find().is_empty());
    for (by, text) in [
        ("log", "INFO setting Vb3kq9 in the database".to_owned()),
        ("secret", r#"{"connectionString":"esdb://orders:Vb3kq9@es:2113?tls=true"}"#.to_owned()),
        ("header", format!("authorization: Basic {}", STANDARD.encode("orders:Vb3kq9"))),
    ] {
        eye.note(by, &text);
        assert!(eye.find().contains(&(by.to_owned(), "orders".to_owned())), "{by}");
    }
    eye.note("default", "logging in with changeit");
    assert!(eye.find().contains(&("default".to_owned(), "admin".to_owned())));
}

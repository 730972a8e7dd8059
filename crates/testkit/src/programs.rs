//! Where the programs are that a task's images hold.

use std::env;
use std::path::{Path, PathBuf};

/// The programs of the workspace.
#[derive(Clone, Debug)]
pub struct Programs {
    directory: PathBuf,
}

impl Programs {
    /// The programs in a directory that cargo built into.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// The programs beside the running test, which is in `target/<profile>/deps`.
    ///
    /// # Panics
    ///
    /// If they were not built: `cargo test --workspace` builds them all, `cargo test -p …` does not.
    pub fn beside_this_test() -> Self {
        let test = env::current_exe().expect("a running test has a path");
        let directory = test.parent().and_then(Path::parent).expect("a test is in target/<profile>/deps");
        let programs = Self::in_directory(directory);
        for path in [programs.certgen(), programs.guard(), programs.bootstrap(), programs.standin()] {
            assert!(path.is_file(), "{} was not built; run `cargo build --workspace` first", path.display());
        }
        programs
    }

    /// The init container's.
    pub fn certgen(&self) -> PathBuf {
        self.directory.join("certgen")
    }

    /// The database's parent.
    pub fn guard(&self) -> PathBuf {
        self.directory.join("guard")
    }

    /// The sidecar's.
    pub fn bootstrap(&self) -> PathBuf {
        self.directory.join("bootstrap")
    }

    /// What makes stacks of a configuration. Not among those of a task.
    ///
    /// # Panics
    ///
    /// If it was not built.
    pub fn infra(&self) -> PathBuf {
        self.built("infra")
    }

    /// `cargo xtask`. Not among those of a task.
    ///
    /// # Panics
    ///
    /// If it was not built.
    pub fn xtask(&self) -> PathBuf {
        self.built("xtask")
    }

    fn built(&self, name: &str) -> PathBuf {
        let path = self.directory.join(name);
        assert!(path.is_file(), "{} was not built; run `cargo build --workspace` first", path.display());
        path
    }

    /// The database stand-in.
    pub fn standin(&self) -> PathBuf {
        self.directory.join("standin")
    }
}

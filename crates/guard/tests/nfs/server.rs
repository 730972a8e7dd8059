//! What guard runs in the virtual machine in place of a database server: one file that is written in place, or one that is replaced by
//! rename, at the moments that a scene asks for. Runs until it is killed, or ends with 0 on SIGTERM's default action.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// Lines have this length, with the newline.
const LINE: usize = 64;
/// Lines that the new server writes and syncs.
pub(crate) const NEW_LINES: usize = 2000;
/// The wait of a holder that is not guard: as `--takeover-after` of the scenes.
const UNGUARDED_WAIT: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(20);

/// `SCENE NAME KIND DIRECTORY [lock-and-wait]`.
pub(crate) fn run(arguments: &[String]) {
    let [scene, name, kind, directory, rest @ ..] = arguments else { panic!("{arguments:?}") };
    let (run, directory) = (Path::new("/run").join(scene), Path::new(directory));
    let note = |what: &str, text: &str| {
        // Read by a shell as soon as it is there: never half of it.
        fs::write(run.join("new-note"), text).unwrap();
        fs::rename(run.join("new-note"), run.join(format!("{name}.{what}"))).unwrap();
    };
    let _lock = (!rest.is_empty()).then(|| {
        let lock = OpenOptions::new().read(true).write(true).open(directory.join(".guard.lock")).unwrap();
        lock.lock().unwrap();
        sleep(UNGUARDED_WAIT);
        lock
    });
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    note("started", &format!("{} {}\n", std::process::id(), uptime.split(' ').next().unwrap()));
    match (kind.as_str(), name.as_str()) {
        ("idle", _) => {
            let file = File::create(directory.join(format!("{name}.dat"))).unwrap();
            note("ready", "ready\n");
            for number in 0_u64.. {
                file.write_all_at(&number.to_le_bytes(), 0).unwrap();
                file.sync_data().unwrap();
                sleep(10 * LOOK);
            }
        }
        ("write", "old") => {
            Log::open(directory).write("old", 100);
            let log = Log::open(directory);
            note("ready", "ready\n");
            wait_for(&run.join("go"));
            log.write("old", 64);
        }
        ("write", _) => {
            Log::open(directory).write("new", NEW_LINES);
            note("done", &format!("{NEW_LINES}\n"));
        }
        ("rename", "old") => {
            replace(directory, "first");
            let late = prepare(directory, "late");
            note("ready", "ready\n");
            wait_for(&run.join("go"));
            fs::rename(late, directory.join("indexmap")).unwrap();
        }
        ("rename", _) => {
            replace(directory, "new");
            note("done", "new\n");
        }
        _ => panic!("{arguments:?}"),
    }
    loop {
        sleep(Duration::from_secs(1));
    }
}

fn wait_for(path: &Path) {
    while !path.exists() {
        sleep(LOOK);
    }
}

/// The last chunk: lines that are written in place, one after the other.
struct Log {
    file: File,
    end: u64,
}

impl Log {
    fn open(directory: &Path) -> Self {
        let path = directory.join("chunk-000000.000000");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        let end = file.metadata().unwrap().len();
        Self { file, end }
    }

    /// Writes lines and syncs them twenty at a time, as far as they are written.
    fn write(&self, tag: &str, count: usize) {
        let lines: Vec<_> =
            (0..count).map(|number| format!("{:<width$}\n", format!("{tag} {number:06}"), width = LINE - 1)).collect();
        for (index, part) in lines.chunks(20).enumerate() {
            let offset = self.end + (index * 20 * LINE) as u64;
            self.file.write_all_at(part.concat().as_bytes(), offset).unwrap();
            self.file.sync_data().unwrap();
        }
    }
}

/// The server's own way to replace `indexmap`: a temporary file with a unique name, synced and renamed.
fn replace(directory: &Path, content: &str) {
    fs::rename(prepare(directory, content), directory.join("indexmap")).unwrap();
}

fn prepare(directory: &Path, content: &str) -> std::path::PathBuf {
    let path = directory.join(format!("indexmap.{content}-0f8fad5b.indexmap.tmp"));
    let file = File::create(&path).unwrap();
    file.write_all_at(content.as_bytes(), 0).unwrap();
    file.sync_all().unwrap();
    path
}

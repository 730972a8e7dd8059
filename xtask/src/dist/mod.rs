//! `cargo xtask dist`: everything that a release consists of, in one directory, and the same bytes again from the same commit.

mod archive;
mod image;
mod notices;
mod source;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use self::archive::{Entries, Entry};
use self::image::Settings;
use crate::images::{Build, Image};
use crate::{Failure, build, images, manuals, sbom, size, table, workspace_version};

/// Options of `cargo xtask dist`.
#[derive(Args)]
pub(crate) struct Options {
    /// The directory to write; not given, target/dist-VERSION. A release that is there is replaced.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Pack a tree that is not that of its commit: for trying, not for passing on.
    #[arg(long)]
    allow_dirty: bool,
    /// Take what CHANGELOG.md has under Unreleased for the notes, where the version has no section of its own. Those of a
    /// pre-release (1.2.0-rc.1) are always what is unreleased.
    #[arg(long)]
    allow_unreleased: bool,
    /// Registry and prefix of the repositories under which engines load the images.
    #[arg(long, default_value = "eventstore-fargate")]
    registry: String,
    /// How the programs are built.
    #[arg(long, value_enum, default_value_t = Build::Dist, hide = true)]
    build: Build,
    /// Take programs that are there instead of building them.
    #[arg(long, value_name = "DIR", hide = true)]
    programs: Option<PathBuf>,
}

/// The programs of a release, with the profile that each is built with.
const PROGRAMS: [(&str, &str); 4] =
    [("certgen", "dist-abort"), ("guard", "dist-abort"), ("bootstrap", "dist"), ("infra", "dist")];
const IMAGES: [&str; 2] = ["certgen", "bootstrap"];

/// Builds, packs and writes.
pub(crate) fn run(root: &Path, options: &Options) -> Result<(), Failure> {
    let version = workspace_version(root)?;
    let commit = source::commit(root, options.allow_dirty)?;
    let changelog = read(&root.join("CHANGELOG.md"))?;
    let notes = source::notes(&String::from_utf8_lossy(&changelog), &version, options.allow_unreleased)?;
    let out = options.out.clone().unwrap_or_else(|| build::target(root).join(format!("dist-{version}")));
    refuse_what_is_not_ours(&out)?;

    let programs = programs(root, options)?;
    let mut release = Release { files: BTreeMap::new() };
    let name = format!("eventstore-fargate-{version}-x86_64-linux");
    let archive = archive::tar(&bundle(root, &name, &programs)?).and_then(|tar| archive::gzip(&tar));
    release.add(&format!("{name}.tar.gz"), archive.map_err(Failure::io("pack the programs"))?);
    let packages: Vec<_> = PROGRAMS.iter().map(|(package, _)| *package).collect();
    release.add(&format!("{name}.cdx.json"), sbom::of(root, "application", "eventstore-fargate", &packages)?);
    let mut digests = String::new();
    for image in IMAGES {
        let image = images::parse(image).map_err(Failure::new)?;
        let packed = pack(root, image, &programs, &options.registry, &version, commit.as_deref())?;
        let _ = writeln!(digests, "{}  {}:{version}", packed.digest, image.name());
        let name = format!("eventstore-fargate-{}-{version}-x86_64-linux", image.name());
        release.add(&format!("{name}.image.tar"), packed.bytes);
        release.add(&format!("{name}.image.cdx.json"), image.contents(root)?);
    }
    release.add("IMAGE-DIGESTS", digests.clone());
    release.add("RELEASE-NOTES.md", notes);
    release.add("BUILT-WITH", built_with(root, &version, commit.as_deref())?);
    if source::commit(root, options.allow_dirty)? != commit {
        return Err(Failure::new("the tree changed while this was built; nothing was written"));
    }
    release.write(&out)?;
    release.tell(&out, &digests, commit.as_deref());
    Ok(())
}

/// The files of a release, by name.
struct Release {
    files: BTreeMap<String, Vec<u8>>,
}

const SUMS: &str = "SHA256SUMS";

impl Release {
    fn add(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.files.insert(name.to_owned(), bytes.into());
    }

    /// As `sha256sum --check` reads it.
    fn sums(&self) -> String {
        self.files.iter().fold(String::new(), |sums, (name, bytes)| sums + &format!("{}  {name}\n", sha256(bytes)))
    }

    /// Into a directory beside, which then takes the place of what is there.
    fn write(&self, out: &Path) -> Result<(), Failure> {
        let beside = beside(out)?;
        remove(&beside)?;
        fs::create_dir_all(&beside).map_err(Failure::io(&format!("create {}", beside.display())))?;
        let sums = self.sums();
        let files = self.files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
        for (name, bytes) in files.chain([(SUMS, sums.as_bytes())]) {
            let path = beside.join(name);
            fs::write(&path, bytes).map_err(Failure::io(&format!("write {}", path.display())))?;
        }
        remove(out)?;
        fs::rename(&beside, out).map_err(Failure::io(&format!("rename {} to {}", beside.display(), out.display())))
    }

    fn tell(&self, out: &Path, digests: &str, commit: Option<&str>) {
        let rows: Vec<_> =
            self.files.iter().map(|(name, bytes)| vec![name.clone(), size::mebibytes(bytes.len())]).collect();
        eprint!("{}{digests}", table(&rows));
        eprintln!("{} has them, with {SUMS} ({})", out.display(), sha256(self.sums().as_bytes()));
        if commit.is_none() {
            eprintln!("warning: the tree is not that of a commit: this is for trying, not for passing on");
        }
    }
}

/// Where a release is written before it takes its place.
fn beside(out: &Path) -> Result<PathBuf, Failure> {
    let name =
        out.file_name().ok_or_else(|| Failure::new(format!("--out: {} does not name a directory", out.display())))?;
    let mut name = name.to_owned();
    name.push(".new");
    Ok(out.with_file_name(name))
}

/// Before anything is built: what would be replaced must be of an earlier release, or of one that was interrupted.
fn refuse_what_is_not_ours(out: &Path) -> Result<(), Failure> {
    beside(out)?;
    let is_empty = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if is_empty || out.join(SUMS).is_file() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{} holds something else than a release; name another directory with --out",
        out.display()
    )))
}

fn remove(directory: &Path) -> Result<(), Failure> {
    if !directory.exists() {
        return Ok(());
    }
    fs::remove_dir_all(directory).map_err(Failure::io(&format!("remove {}", directory.display())))
}

/// The programs, by name.
fn programs(root: &Path, options: &Options) -> Result<BTreeMap<&'static str, Vec<u8>>, Failure> {
    let names = PROGRAMS.map(|(name, _)| name);
    let paths: Vec<_> = match (&options.programs, options.build) {
        (Some(directory), _) => names.map(|name| directory.join(name)).into(),
        (None, Build::Dev) => {
            let directory = build::static_programs(root)?;
            names.map(|name| directory.join(name)).into()
        }
        (None, Build::Dist) => {
            let built = PROGRAMS.map(|(name, profile)| build::static_binary(root, name, name, profile));
            built.into_iter().collect::<Result<_, _>>()?
        }
    };
    if options.programs.is_none() {
        build::refuse_paths_of_this_machine(root, &paths)?;
    }
    names.into_iter().zip(&paths).map(|(name, path)| Ok((name, read(path)?))).collect()
}

/// What the archive of the programs holds, below the directory `name`.
fn bundle(root: &Path, name: &str, programs: &BTreeMap<&str, Vec<u8>>) -> Result<Entries, Failure> {
    let mut entries = Entries::new();
    let mut add = |path: &str, bytes: Vec<u8>, is_program| {
        entries.insert(format!("{name}/{path}"), Entry { bytes, is_program });
    };
    for (program, bytes) in programs {
        add(&format!("bin/{program}"), bytes.clone(), true);
    }
    for file in ["LICENSE", "README.md", "CHANGELOG.md"] {
        add(file, read(&root.join(file))?, false);
    }
    for path in source::documents(root)? {
        let bytes = read(&root.join(&path))?;
        add(&path, bytes, false);
    }
    for (path, bytes) in manuals::files(root)? {
        add(&path, bytes, false);
    }
    let packages: Vec<_> = programs.keys().copied().collect();
    add("THIRD-PARTY-LICENCES", notices::of(root, &packages)?.into_bytes(), false);
    Ok(entries)
}

fn pack(
    root: &Path,
    image: &Image,
    programs: &BTreeMap<&str, Vec<u8>>,
    registry: &str,
    version: &str,
    commit: Option<&str>,
) -> Result<image::Archive, Failure> {
    let binary =
        |name: &str| programs.get(name).map(Vec::as_slice).expect("what images hold are programs of a release");
    let layer = image.layer(binary).map_err(Failure::io("pack an image"))?;
    let mut settings = Settings::read(&image.last_stage(root)?)?.label("org.opencontainers.image.version", version);
    if let Some(commit) = commit {
        settings = settings.label("org.opencontainers.image.revision", commit);
    }
    let name = format!("{registry}/{}", image.name());
    image::pack(&layer, &settings, &name, version).map_err(Failure::io("pack an image"))
}

/// What must be the same on another machine for the same bytes. Sums that differ are explained here first.
fn built_with(root: &Path, version: &str, commit: Option<&str>) -> Result<String, Failure> {
    let first_lines = |program: &str, arguments: &[&str], count: usize| {
        let output = Command::new(program).args(arguments).current_dir(root).output();
        let output = output.map_err(Failure::io(&format!("run {program}")))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok::<_, Failure>(text.split_inclusive('\n').take(count).collect::<String>())
    };
    let commit = commit.unwrap_or("none: the tree had changes");
    Ok(format!(
        "eventstore-fargate {version}\ncommit {commit}\n\n{}\n{}\n{}",
        first_lines("rustc", &["--version", "--verbose"], usize::MAX)?,
        first_lines("cc", &["--version"], 1)?,
        first_lines("ldd", &["--version"], 1)?,
    ))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(Failure::io(&format!("read {}", path.display())))
}

/// In hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

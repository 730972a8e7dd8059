//! Images FROM scratch of static binaries, where no base image can be pulled: `target/images` has for each a Dockerfile, the
//! last stage of the one in `docker/`, and a tar archive with the modes that volumes are to have. The directory is also what
//! `images.build` of a configuration may name.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Args, ValueEnum};

use crate::dist::sha256;
use crate::{Failure, build, sbom, size, table, workspace_version};

/// Options of `cargo xtask images`.
#[derive(Args)]
pub(crate) struct Options {
    /// Images to make; all without one.
    #[arg(value_name = "IMAGE", value_parser = parse)]
    images: Vec<&'static Image>,
    /// How binaries are built: as small as they can be, or quickly, for tests.
    #[arg(long, value_enum, default_value_t = Build::Dist)]
    build: Build,
    /// Registry and prefix of the repositories.
    #[arg(long, default_value = "eventstore-fargate")]
    registry: String,
}

/// How binaries are built.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Build {
    Dist,
    Dev,
}

/// An image, as its Dockerfile has it; a test compares both.
#[derive(Debug)]
pub(crate) struct Image {
    name: &'static str,
    profile: &'static str,
    /// Package and binary with its place in the image.
    programs: &'static [Program],
    /// What anybody may write to; volumes, where another image than the server's stand-in has them.
    directories: &'static [&'static str],
}

#[derive(Debug)]
struct Program {
    package: &'static str,
    binary: &'static str,
    path: &'static str,
}

const fn program(package: &'static str, binary: &'static str, path: &'static str) -> Program {
    Program { package, binary, path }
}

/// All of them. The last three are for clusters on one machine.
static IMAGES: [Image; 5] = [
    Image {
        name: "certgen",
        profile: "dist-abort",
        programs: &[program("certgen", "certgen", "certgen"), program("guard", "guard", "guard")],
        directories: &[
            "certs",
            "tmp",
            "run/task",
            "ca-state",
            "volumes/1",
            "volumes/2",
            "volumes/3",
            "volumes/4",
            "volumes/5",
            "volumes/6",
            "volumes/7",
            "volumes/8",
        ],
    },
    Image {
        name: "bootstrap",
        profile: "dist",
        programs: &[program("bootstrap", "bootstrap", "bootstrap")],
        directories: &[],
    },
    Image {
        name: "standin",
        profile: "dist",
        programs: &[
            program("testkit", "standin", "opt/eventstore/EventStore.ClusterNode"),
            program("testkit", "standin", "opt/kurrentdb/KurrentDB"),
        ],
        directories: &["var/lib/eventstore", "var/log/eventstore", "var/lib/kurrentdb", "var/log/kurrentdb"],
    },
    Image {
        name: "aws-double",
        profile: "dist",
        programs: &[program("testkit", "aws-double", "aws-double")],
        directories: &["state"],
    },
    Image {
        name: "consumer",
        profile: "dist",
        programs: &[program("consumer", "consumer", "consumer")],
        directories: &[],
    },
];

/// The image of this name.
pub(crate) fn parse(name: &str) -> Result<&'static Image, String> {
    let allowed: Vec<_> = IMAGES.iter().map(|image| image.name).collect();
    let found = IMAGES.iter().find(|image| image.name == name);
    found.ok_or_else(|| format!("allowed are {}", allowed.join(", ")))
}

/// Packs, and builds if an engine answers.
pub(crate) fn run(root: &Path, options: &Options) -> Result<(), Failure> {
    let out = build::target(root).join("images");
    fs::create_dir_all(&out).map_err(Failure::io("create target/images"))?;
    let (engine, version) = (engine_answers(), workspace_version(root)?);
    let mut rows = vec![vec!["image".to_owned(), "raw".to_owned(), "gzip -9".to_owned()]];
    let mut sums = String::new();
    let chosen: Vec<_> = if options.images.is_empty() { IMAGES.iter().collect() } else { options.images.clone() };
    if options.build == Build::Dev {
        build::static_programs(root)?;
    }
    for image in chosen {
        let dockerfile = image.last_stage(root)?;
        let binaries = image.build(root, options.build)?;
        build::refuse_paths_of_this_machine(root, &binaries)?;
        let archive = out.join(format!("{}.tar", image.name));
        fs::write(&archive, image.layer_of(&binaries)?).map_err(Failure::io("write a tar archive"))?;
        write(&out.join(image.dockerfile()), &dockerfile)?;
        write(&out.join(format!("{}.cdx.json", image.name)), &image.contents(root)?)?;
        // Nobody transfers those for tests, and to compress what is not stripped takes minutes.
        if options.build == Build::Dist {
            let (raw, compressed) = size::of(&archive)?;
            rows.push(vec![image.name.to_owned(), size::mebibytes(raw), size::mebibytes(compressed)]);
        }
        for file in [archive, out.join(format!("{}.cdx.json", image.name))] {
            sums += &sum(&file)?;
        }
        if engine {
            image.docker_build(&out, &options.registry, &version)?;
        }
    }
    write(&out.join("SHA256SUMS"), &sums)?;
    if options.build == Build::Dist {
        eprint!("{}", table(&rows));
    }
    let images = if engine { "images are built" } else { "no Docker engine answers: no image is built" };
    eprintln!("{images}; archives, Dockerfiles, contents (CycloneDX) and SHA256SUMS are in {}", out.display());
    Ok(())
}

/// All of them, built quickly.
pub(crate) fn for_tests(root: &Path) -> Result<String, Failure> {
    let options = Options { images: Vec::new(), build: Build::Dev, registry: "eventstore-fargate".to_owned() };
    run(root, &options).map(|()| String::new())
}

/// Whether there is one to build with.
pub(crate) fn engine_answers() -> bool {
    let mut docker = Command::new("docker");
    docker.args(["version", "--format", "{{.Server.Version}}"]).stdin(Stdio::null());
    docker.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

impl Image {
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// What its Dockerfile says of the image itself.
    pub(crate) fn last_stage(&self, root: &Path) -> Result<String, Failure> {
        let dockerfile = fs::read_to_string(root.join("docker").join(self.dockerfile()));
        Ok(last_stage(&dockerfile.map_err(Failure::io("read a Dockerfile"))?, self))
    }

    fn dockerfile(&self) -> String {
        format!("{}.Dockerfile", self.name)
    }

    /// The binaries in the order of `programs`. Those for tests were all built before.
    fn build(&self, root: &Path, how: Build) -> Result<Vec<PathBuf>, Failure> {
        let build = |program: &Program| match how {
            Build::Dev => Ok(build::static_directory(root, "dev").join(program.binary)),
            Build::Dist => build::static_binary(root, program.package, program.binary, self.profile),
        };
        self.programs.iter().map(build).collect()
    }

    fn layer_of(&self, binaries: &[PathBuf]) -> Result<Vec<u8>, Failure> {
        let mut read = BTreeMap::new();
        for (program, path) in self.programs.iter().zip(binaries) {
            read.insert(program.binary, fs::read(path).map_err(Failure::io(&format!("read {}", path.display())))?);
        }
        self.layer(|name| read.get(name).map(Vec::as_slice).unwrap_or_default()).map_err(Failure::io("pack an image"))
    }

    /// The root file system. Times are left out: the same binaries give the same archive.
    pub(crate) fn layer<'a>(&self, binary: impl Fn(&str) -> &'a [u8]) -> io::Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        let entry = |kind: tar::EntryType, mode: u32, size: u64| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_size(size);
            header
        };
        let mut made: Vec<PathBuf> = Vec::new();
        let paths = self.programs.iter().filter_map(|program| Path::new(program.path).parent());
        let parents = self.directories.iter().filter_map(|directory| Path::new(directory).parent());
        for directory in paths.chain(parents).flat_map(Path::ancestors).filter(|path| *path != Path::new("")) {
            if !made.iter().any(|known| known == directory) {
                made.push(directory.to_owned());
            }
        }
        made.sort();
        for directory in made {
            tar.append_data(&mut entry(tar::EntryType::Directory, 0o755, 0), directory, io::empty())?;
        }
        for directory in self.directories {
            tar.append_data(&mut entry(tar::EntryType::Directory, 0o1777, 0), directory, io::empty())?;
        }
        for program in self.programs {
            let bytes = binary(program.binary);
            let size = bytes.len() as u64;
            tar.append_data(&mut entry(tar::EntryType::Regular, 0o555, size), program.path, bytes)?;
        }
        tar.into_inner()
    }

    /// A bill of materials.
    pub(crate) fn contents(&self, root: &Path) -> Result<String, Failure> {
        let mut packages: Vec<_> = self.programs.iter().map(|program| program.package).collect();
        packages.dedup();
        sbom::of(root, "container", &format!("eventstore-fargate/{}", self.name), &packages)
    }

    fn docker_build(&self, out: &Path, registry: &str, version: &str) -> Result<(), Failure> {
        let tag = format!("{registry}/{}:{version}", self.name);
        let label = format!("org.opencontainers.image.version={version}");
        let mut docker = Command::new("docker");
        docker
            .args(["build", "--quiet", "--tag", &tag, "--label", &label, "--file"])
            .arg(out.join(self.dockerfile()))
            .arg(out);
        build::run(docker.stdout(Stdio::null()), &format!("docker build of {tag}"))
    }
}

/// From `FROM scratch` on, with the archive in place of what another stage made.
fn last_stage(dockerfile: &str, image: &Image) -> String {
    let (_, stage) = dockerfile.split_once("FROM scratch\n").unwrap_or(("", dockerfile));
    let archive = format!("ADD {}.tar /", image.name);
    format!("FROM scratch\n{}", stage.replace("COPY --from=build /rootfs/ /", &archive))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(Failure::io(&format!("write {}", path.display())))
}

/// A line as `sha256sum` writes it.
fn sum(path: &Path) -> Result<String, Failure> {
    let bytes = fs::read(path).map_err(Failure::io(&format!("read {}", path.display())))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(format!("{}  {name}\n", sha256(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str) -> String {
        fs::read_to_string(crate::workspace().join("docker").join(file)).unwrap_or_default()
    }

    /// One is built from source, the other packed: they must be the same image.
    #[test]
    fn what_is_packed_is_what_the_dockerfile_installs() {
        for image in &IMAGES {
            let text = read(&image.dockerfile());
            let installs = |line: &&str| line.contains("install -D");
            let found: Vec<_> = text.lines().filter(installs).map(|line| line.trim_end_matches(" \\")).collect();
            let path = |program: &Program| {
                format!(
                    "{}/{}/{} /rootfs/{}",
                    "target/x86_64-unknown-linux-gnu", image.profile, program.binary, program.path
                )
            };
            let expected: Vec<_> = image.programs.iter().map(path).collect();
            assert_eq!(found.len(), expected.len(), "{}", image.name);
            for (found, expected) in found.iter().zip(&expected) {
                assert!(found.ends_with(&format!("install -D -m 0555 {expected}")), "{found}");
            }
            let directories: Vec<_> =
                image.directories.iter().map(|directory| format!("/rootfs/{directory}")).collect();
            let made = format!("mkdir -p {0} && chmod 1777 {0}", directories.join(" "));
            assert_eq!(text.contains(&made), !directories.is_empty(), "{}", image.name);
            let volumes: Vec<_> = image.directories.iter().map(|directory| format!("\"/{directory}\"")).collect();
            let volumes = format!("VOLUME [{}]\n", volumes.join(", "));
            // The stand-in's are not: Docker gives a volume the mode that the directory has in the image all the same.
            let declares = !directories.is_empty() && image.name != "standin";
            assert_eq!(text.contains(&volumes), declares, "{}", image.name);
            let packages = image.programs.iter().all(|program| text.contains(&format!("-p {}", program.package)));
            assert!(packages && text.contains(&format!("--profile {} ", image.profile)), "{}", image.name);
            let stage = last_stage(&text, image);
            assert!(
                stage.starts_with("FROM scratch\nLABEL") && stage.contains(&format!("ADD {}.tar /\n", image.name)),
                "{stage}"
            );
            assert!(!stage.contains("--from"), "{stage}");
        }
    }

    #[test]
    fn the_bake_file_knows_the_images_and_the_version() {
        let text = read("docker-bake.hcl");
        let names: Vec<_> = IMAGES.iter().map(|image| format!("\"{}\"", image.name)).collect();
        assert!(text.contains(&format!("matrix     = {{ image = [{}] }}", names.join(", "))), "{names:?}");
        let version = workspace_version(&crate::workspace()).map(|version| format!("default = \"{version}\""));
        assert!(version.is_ok_and(|version| text.contains(&version)));
    }
}

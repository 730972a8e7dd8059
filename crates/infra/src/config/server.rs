//! The server, its task, and whether it is to be secured.

use super::section::Section;
use super::{Server, license, upgrade};
use crate::server::{self, ServerOption};
use crate::values::{FargateCpu, FargateSize, ServerLine};

/// What `server.insecure` says, and whether it may be exposed.
#[derive(Clone, Copy)]
pub(super) struct Insecure {
    pub(super) wanted: bool,
    pub(super) exposed: bool,
}

/// Reads the section `server`.
pub(super) fn read(section: &Section<'_>) -> (Option<Server>, Option<Insecure>) {
    let line = section.text("line", ServerLine::parse);
    let upgrade = upgrade::read(section);
    let external_tcp = section.flag("external_tcp");
    if let (Some(line), Some(true)) = (line, external_tcp)
        && !server::knows_external_tcp(line)
    {
        let line = line.as_str();
        section.mistake(
            "external_tcp",
            format!("`true` does not go with line {line}, which has no such port; allowed is false"),
        );
    }
    let taken = |port: u16| {
        port == server::REPLICATION_PORT || (external_tcp == Some(true) && port == server::EXTERNAL_TCP_PORT)
    };
    let port = section.integer("port", |port| match u16::try_from(port) {
        Ok(port @ 1024..) if !taken(port) => Ok(port),
        _ => Err(format!(
            "`{port}` is not allowed; allowed are 1024 to 65535, except 1112, the replication port, and 1113 with \
             external_tcp"
        )),
    });
    let cpu = section.integer("cpu", FargateCpu::new);
    let memory = section.integer("memory", |memory| match cpu {
        Some(cpu) => FargateSize::new(cpu, memory).map(Some),
        None => Ok(None),
    });
    let uid = section.number("uid");
    let uid = if section.has("uid") { uid } else { line.map(|line| server::image(line).uid) };
    let log_volume = section.flag("log_volume");
    let license = license::read(section, line);
    let options = section.options("options", |name, value| ServerOption::parse(line, name, value));
    let (wanted, exposed) = (section.flag("insecure"), section.flag("insecure_exposed"));
    if let (Some(false), Some(true)) = (wanted, exposed) {
        section.mistake("insecure_exposed", "`true` says nothing without insecure = true; take it out");
    }
    let insecure = wanted.zip(exposed).map(|(wanted, exposed)| Insecure { wanted, exposed });
    let server = || {
        Some(Server {
            line: line?,
            upgrade,
            port: port?,
            size: memory??,
            uid: uid?,
            external_tcp: external_tcp?,
            log_volume: log_volume?,
            license,
            options: options?,
        })
    };
    (server(), insecure)
}

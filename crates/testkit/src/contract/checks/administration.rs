//! `POST /admin/reloadconfig`. What it does to changed files cannot be seen from outside; with unchanged ones the same
//! certificate goes on being served.

use std::time::Duration;

use rustls::pki_types::CertificateDer;

use super::super::check::{Check, Scope};
use super::super::found::Found;
use super::super::suite::{Node, Suite, await_state};
use super::super::wire::{Broken, Request};

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::new(
            "reload.reply",
            "reloadconfig: 200 empty as ops and as admin, 401 empty anonymous",
            "observed §7, lines §D",
            reply,
        )
        .consent(),
        Check::new("reload.rights", "reloadconfig as a user without groups: 401 empty", "contract §1.1, §3.2", rights)
            .scope(Scope::Leader)
            .contract_only()
            .consent(),
        Check::new(
            "reload.certificate",
            "after a reload of unchanged files the same certificate is served",
            "observed §7",
            certificate,
        )
        .consent(),
    ]
}

fn reload() -> Request {
    Request::post("/admin/reloadconfig")
}

fn reply(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    found.reply("reloadconfig anonymous", &node.ask(&reload())?).status(401).empty();
    for login in [&suite.ops, &suite.admin] {
        let reply = node.ask(&reload().by(login))?;
        found.reply(format!("reloadconfig as {}", login.name), &reply).status(200).empty();
    }
    Ok(())
}

fn rights(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let user = suite.scratch(node)?;
    found.reply("reloadconfig as a user without groups", &node.ask(&reload().by(&user))?).not_authorised();
    Ok(())
}

fn served(node: &Node) -> Result<Option<CertificateDer<'static>>, Broken> {
    let connection = node.open(&node.shared.trust.anonymous)?;
    Ok(connection.session().peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.clone().into_owned()))
}

/// "Within 0.1 s" a new certificate was served; that long every handshake is looked at, and a good deal longer.
fn certificate(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let before = served(node)?;
    found.reply("reloadconfig", &node.ask(&reload().by(&suite.ops))?).status(200);
    let changed = await_state(node, Duration::from_secs(1), || Ok(served(node)? != before))?;
    found.holds("the certificate that is served", before.is_some() && !changed, "the one from before", "another one");
    Ok(())
}

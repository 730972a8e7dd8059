//! How the world is when the first sidecar starts.

use std::time::Duration;

use bootstrap::ports::SecretId;
use bootstrap::{ADMIN, AccountPlan, Credentials, Details, OPS, Password, Policy, Scheme, User};

use crate::calls::GROUPS;
use crate::cluster::{Account, Accounts, BUILT_IN, Cluster, FACTORY_DEFAULT, LOGINS};
use crate::faults::Rates;
use crate::store::{CURRENT, Stored};
use crate::tape::Chooser;
use crate::world::{Model, SECRETS, wall_clock};

pub(crate) const ROTATE_EVERY_DAYS: u64 = 30;

/// What the operator has configured.
pub(crate) struct Plan {
    /// The administrator first.
    pub(crate) users: Vec<User>,
    pub(crate) policy: Policy,
}

impl Plan {
    /// The user whose secret has this number, if it is configured.
    pub(crate) fn user(&self, secret: usize) -> Option<&User> {
        self.users.iter().find(|user| user.secret.0 == SECRETS[secret].0)
    }
}

pub(crate) fn details(number: u16) -> Details {
    let ca_certificate = format!("-----BEGIN CERTIFICATE-----\n{number}\n");
    Details { scheme: Scheme::Discover, host: format!("es-{number}"), port: 2113, ca_certificate }
}

/// Where the administrator's and the operator's passwords come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// An earlier deployment has set and published them.
    Adopted,
    /// There is no secret, and the database is new.
    NoSecret,
    /// CloudFormation has generated passwords, and the database is new.
    Generated,
    /// The same, and the server was given them for its first start.
    Given,
    /// There are secrets without a value.
    Empty,
    /// Somebody has stored the factory default.
    StoredDefault,
    /// A running database whose secrets were made anew.
    Replaced,
    /// A running database with the password of an older version.
    Older,
}

const ORIGINS: [Origin; 8] = [
    Origin::Adopted,
    Origin::NoSecret,
    Origin::Generated,
    Origin::Given,
    Origin::Empty,
    Origin::StoredDefault,
    Origin::Replaced,
    Origin::Older,
];

/// Prepares the world. A pair and a single application user are configured in some of the schedules.
pub(crate) fn prepare(model: &mut Model) -> Plan {
    model.rates = Rates::choose(&mut model.tape);
    let nodes = model.tape.pick(Chooser::Setup, &[1, 3, 3, 1, 5, 3, 2, 7, 4]);
    model.sidecars = nodes.min(5);
    let origin = model.tape.pick(Chooser::Setup, &ORIGINS);
    let recovers = model.tape.pick(Chooser::Setup, &[false, false, false, true]);
    let turns = model.tape.pick(Chooser::Setup, &[false, true]);
    let (has_pair, has_single) = model.tape.pick(Chooser::Setup, &[(false, false), (true, false), (false, true)]);

    let mut accounts = Accounts::default();
    for (secret, account) in accounts.iter_mut().enumerate().take(BUILT_IN) {
        let first = model.words.invent();
        let password = store_first(model, secret, origin, first);
        *account = Some(Account { password, is_in_right_groups: true });
    }
    let is_new = matches!(origin, Origin::NoSecret | Origin::Generated | Origin::Given | Origin::Empty);
    if origin == Origin::Given {
        model.initial = [0, 1].map(|secret| model.current(secret).expect("it was generated").password);
    }
    let mut users = vec![
        User::built_in(ADMIN, SecretId(SECRETS[0].0.to_owned())),
        User::built_in(OPS, SecretId(SECRETS[1].0.to_owned())),
    ];
    for (secret, is_there) in [(2, has_pair), (3, has_single)] {
        if is_there {
            users.push(application(secret));
            prepare_application(model, secret, is_new, &mut accounts);
        }
    }
    model.cluster = Cluster::new(nodes, if is_new { None } else { Some(accounts) });
    if is_new {
        model.start_all(0);
    } else {
        warm_caches(model, &accounts);
    }
    let policy = Policy {
        timeout: Duration::from_mins(4),
        rotate_every: turns.then_some(Duration::from_hours(24 * ROTATE_EVERY_DAYS)),
        recover_with_node_certificate: recovers,
        now: wall_clock,
    };
    model
        .note(|_| format!("{nodes} nodes, node certificate may recover: {recovers}, passwords turn with age: {turns}"));
    for secret in 0..SECRETS.len() {
        model.note_labels(secret);
    }
    Plan { users, policy }
}

fn application(secret: usize) -> User {
    let (name, logins) = SECRETS[secret];
    let logins: Vec<_> = logins.iter().map(|login| LOGINS[*login].to_owned()).collect();
    User {
        login: logins[0].clone(),
        alternate: logins.get(1).cloned(),
        secret: SecretId(name.to_owned()),
        account: Some(AccountPlan { full_name: logins[0].clone(), groups: vec![GROUPS.to_owned()] }),
    }
}

/// A version with everything that consumers look for.
pub(crate) fn published(model: &mut Model, secret: usize, login: usize, password: u32, number: u16) -> Stored {
    let password = Password::from(model.words.text(password).to_owned());
    let text = Credentials::to_text(LOGINS[login], &password, &details(number));
    let id = model.store.name();
    model.stored(secret, id, Some(text.expose()), false)
}

/// Gives the password that a running database has for it.
fn store_first(model: &mut Model, secret: usize, origin: Origin, first: u32) -> u32 {
    match origin {
        Origin::NoSecret => FACTORY_DEFAULT,
        Origin::Empty => {
            model.store.create(secret, 0, None);
            FACTORY_DEFAULT
        }
        Origin::Adopted | Origin::Older => {
            let version = published(model, secret, secret, first, 1);
            model.store.create(secret, 0, Some(version));
            if origin == Origin::Older {
                let second = model.words.invent();
                let version = published(model, secret, secret, second, 1);
                model.store.put(secret, 0, CURRENT, version).expect("there is a secret");
            }
            first
        }
        Origin::Generated | Origin::Given | Origin::Replaced | Origin::StoredDefault => {
            let password = if origin == Origin::StoredDefault { FACTORY_DEFAULT } else { first };
            let version = model.bare(secret, secret, password);
            model.store.create(secret, 0, Some(version));
            FACTORY_DEFAULT
        }
    }
}

fn prepare_application(model: &mut Model, secret: usize, is_new: bool, accounts: &mut Accounts) {
    let login = SECRETS[secret].1[0];
    let password = model.words.invent();
    match model.tape.below(Chooser::Setup, 3) {
        0 => {}
        1 => {
            let version = model.bare(secret, login, password);
            model.store.create(secret, 0, Some(version));
        }
        _ => {
            let version = published(model, secret, login, password, 1);
            model.store.create(secret, 0, Some(version));
            if !is_new {
                accounts[login] = Some(Account { password, is_in_right_groups: true });
            }
        }
    }
}

/// Somebody has been logged in here and there.
fn warm_caches(model: &mut Model, accounts: &Accounts) {
    for node in 0..model.cluster.nodes.len() {
        if model.tape.below(Chooser::Setup, 2) == 1 {
            for (login, account) in accounts.iter().enumerate() {
                if let Some(account) = account {
                    model.cluster.nodes[node].judge(login, account.password, 0);
                }
            }
        }
    }
}

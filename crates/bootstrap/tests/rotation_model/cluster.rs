//! Reference model of a cluster: one log of user records and notices, per node how much of it has arrived, and a password
//! cache that is compared with nothing but itself (observed §1, §3–§5).

/// Accounts the model knows, by number.
pub(crate) const LOGINS: [&str; 5] = ["admin", "ops", "app", "app-b", "solo"];
pub(crate) const ADMIN: usize = 0;
pub(crate) const BUILT_IN: usize = 2;

/// `changeit`, by number.
pub(crate) const FACTORY_DEFAULT: u32 = 0;

/// After it has lost its quorum a node says for so long that it leads (observed §5).
pub(crate) const LEADS_WITHOUT_QUORUM_MS: u64 = 3_200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) password: u32,
    pub(crate) is_in_right_groups: bool,
}

pub(crate) type Accounts = [Option<Account>; LOGINS.len()];

#[derive(Clone, Copy, Debug)]
enum Entry {
    Account(usize, Option<Account>),
    Notice(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Down,
    /// Answers, but was not ready yet since it started.
    Starting,
    /// `/health/live` has answered 204; it stays so without a quorum.
    Live,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) phase: Phase,
    pub(crate) boot: u32,
    /// Alive, but cut off from the other nodes.
    pub(crate) is_isolated: bool,
    /// Since when gossip has shown it to the others; `None`: always.
    pub(crate) joined: Option<u64>,
    leads_until: u64,
    applied: usize,
    noticed: usize,
    accounts: Accounts,
    cache: [Option<u32>; LOGINS.len()],
    /// Until then it answers 401 to everything for this login.
    refuses_until: [u64; LOGINS.len()],
}

impl Node {
    pub(crate) fn is_connected(&self) -> bool {
        self.phase != Phase::Down && !self.is_isolated
    }

    /// Whether it would accept the password now, and remember that it did.
    pub(crate) fn judge(&mut self, login: usize, password: u32, now: u64) -> bool {
        if now < self.refuses_until[login] {
            return false;
        }
        match self.cache[login] {
            Some(cached) => cached == password,
            None if self.accounts[login].is_some_and(|account| account.password == password) => {
                self.cache[login] = Some(password);
                true
            }
            None => false,
        }
    }

    pub(crate) fn refuse_until(&mut self, login: usize, until: u64) {
        self.refuses_until[login] = self.refuses_until[login].max(until);
    }

    pub(crate) fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// The same, of somebody who only wants to know.
    pub(crate) fn would_accept(&self, login: usize, password: u32, now: u64) -> bool {
        self.clone().judge(login, password, now)
    }
}

/// How much of a change of a user is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Stored and announced.
    Whole,
    /// Stored, and the notice that makes nodes forget the cached password was never written: the trap of observed §4.
    Unannounced,
}

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) leader: Option<usize>,
    log: Vec<Entry>,
    committed: Accounts,
    /// What backups can be restored to.
    pub(crate) backups: Vec<Accounts>,
}

impl Cluster {
    /// A cluster whose nodes are all live if they have `accounts`, else starting.
    pub(crate) fn new(count: usize, accounts: Option<Accounts>) -> Self {
        let (phase, committed) = match accounts {
            Some(accounts) => (Phase::Live, accounts),
            None => (Phase::Starting, Accounts::default()),
        };
        let log: Vec<_> =
            committed.iter().enumerate().map(|(login, account)| Entry::Account(login, *account)).collect();
        let node = Node {
            phase,
            boot: 0,
            is_isolated: false,
            joined: None,
            leads_until: 0,
            applied: log.len(),
            noticed: log.len(),
            accounts: committed,
            cache: [None; LOGINS.len()],
            refuses_until: [0; LOGINS.len()],
        };
        let backups = vec![committed];
        Self { nodes: vec![node; count], leader: accounts.map(|_| 0), log, committed, backups }
    }

    pub(crate) fn committed(&self) -> &Accounts {
        &self.committed
    }

    pub(crate) fn has_quorum(&self) -> bool {
        let connected = self.nodes.iter().filter(|node| node.is_connected()).count();
        connected > self.nodes.len() / 2
    }

    /// Whether this node says that it leads.
    pub(crate) fn says_leader(&self, node: usize, now: u64) -> bool {
        self.leader == Some(node) || now < self.nodes[node].leads_until
    }

    /// The node that can write for a request that has come in at `node`.
    pub(crate) fn writer(&self, node: usize) -> Option<usize> {
        let leader = self.leader?;
        (node == leader || self.nodes[node].is_connected()).then_some(leader)
    }

    /// What the node's gossip says of the others, or `None` if they are too few.
    pub(crate) fn peers(&self, node: usize) -> Option<Vec<usize>> {
        let others = (0..self.nodes.len()).filter(|other| *other != node && self.nodes[*other].is_connected());
        let others: Vec<_> = if self.nodes[node].is_isolated { Vec::new() } else { others.collect() };
        (1 + others.len() > self.nodes.len() / 2).then_some(others)
    }

    /// Writes an account, on the leader at once; the others get it when they are told to [`Self::replicate`].
    pub(crate) fn write(&mut self, login: usize, account: Option<Account>, extent: Extent) {
        self.log.push(Entry::Account(login, account));
        if extent == Extent::Whole {
            self.log.push(Entry::Notice(login));
        }
        self.committed[login] = account;
        self.backups.push(self.committed);
        if let Some(leader) = self.leader {
            self.replicate(leader);
        }
    }

    pub(crate) fn replicate(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        for entry in &self.log[node.applied..] {
            if let Entry::Account(login, account) = entry {
                node.accounts[*login] = *account;
            }
        }
        node.applied = self.log.len();
    }

    /// The node looks at the notices that have arrived. Gives the logins whose cached password it forgets.
    pub(crate) fn poll_notices(&mut self, node: usize) -> Vec<usize> {
        let node = &mut self.nodes[node];
        let mut forgotten = Vec::new();
        for entry in &self.log[node.noticed..node.applied] {
            if let Entry::Notice(login) = entry {
                node.cache[*login] = None;
                forgotten.push(*login);
            }
        }
        node.noticed = node.applied;
        forgotten
    }

    pub(crate) fn is_behind(&self, node: usize) -> bool {
        self.nodes[node].applied < self.log.len()
    }

    pub(crate) fn has_notices(&self, node: usize) -> bool {
        self.nodes[node].noticed < self.nodes[node].applied
    }

    pub(crate) fn stop(&mut self, node: usize, now: u64) {
        let stopped = &mut self.nodes[node];
        (stopped.phase, stopped.boot, stopped.leads_until) = (Phase::Down, stopped.boot + 1, 0);
        (stopped.cache, stopped.noticed) = ([None; LOGINS.len()], stopped.applied);
        stopped.refuses_until = [0; LOGINS.len()];
        self.leave(node, now);
    }

    pub(crate) fn isolate(&mut self, node: usize, now: u64) {
        self.nodes[node].is_isolated = true;
        self.leave(node, now);
    }

    fn leave(&mut self, node: usize, now: u64) {
        let Some(leader) = self.leader else { return };
        if leader == node || !self.has_quorum() {
            self.leader = None;
            if self.nodes[leader].phase != Phase::Down {
                self.nodes[leader].leads_until = now + LEADS_WITHOUT_QUORUM_MS;
            }
        }
    }

    pub(crate) fn heal(&mut self, node: usize, now: u64) {
        (self.nodes[node].is_isolated, self.nodes[node].joined) = (false, Some(now));
        self.nodes[node].leads_until = 0;
    }

    pub(crate) fn miss_notices(&mut self, node: usize) {
        self.replicate(node);
        self.nodes[node].noticed = self.nodes[node].applied;
    }

    pub(crate) fn start(&mut self, node: usize, now: u64) {
        (self.nodes[node].phase, self.nodes[node].joined) = (Phase::Starting, Some(now));
    }

    pub(crate) fn electable(&self) -> Vec<usize> {
        if !self.has_quorum() {
            return Vec::new();
        }
        (0..self.nodes.len()).filter(|node| self.nodes[*node].is_connected()).collect()
    }

    /// The new leader has every entry that was committed.
    pub(crate) fn elect(&mut self, node: usize) {
        self.nodes.iter_mut().filter(|other| !other.is_isolated).for_each(|other| other.leads_until = 0);
        self.leader = Some(node);
        self.replicate(node);
    }

    /// The leader gives its place up without leaving.
    pub(crate) fn resign(&mut self) {
        self.leader = None;
    }

    /// All volumes hold `accounts` instead of what they held. Every node must be down.
    pub(crate) fn restore(&mut self, accounts: Accounts) {
        for (login, account) in accounts.into_iter().enumerate() {
            self.log.push(Entry::Account(login, account));
        }
        self.committed = accounts;
        for node in 0..self.nodes.len() {
            self.replicate(node);
            self.nodes[node].noticed = self.nodes[node].applied;
        }
    }

    /// One volume is lost; the node gets everything anew from the others.
    pub(crate) fn empty_volume(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        (node.accounts, node.applied, node.noticed) = (Accounts::default(), 0, 0);
    }
}

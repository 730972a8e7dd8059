//! Tasks as infra makes them for every server line: the model's own variables, paths and program, with nothing struck. On
//! lines that have no first passwords the default ones are what bootstrap finds.

use infra::ServerLine;

use super::account::Account;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_every_line_comes_up_and_loses_its_default_passwords() {
    for line in ServerLine::ALL {
        let text = format!("name = \"es\"\n[server]\nline = \"{}\"\n", line.as_str());
        Account::new().await.comes_up(&text, async |_, _| {}).await;
    }
}

/// With the old names, which have to find the others and the replica to find them.
#[tokio::test(flavor = "multi_thread")]
async fn clusters_with_a_read_only_replica_come_up() {
    for line in ["22.10", "26"] {
        let cluster = "[cluster]\nnodes = 3\nread_only_replicas = 1\n";
        let text = format!("name = \"es\"\n[server]\nline = \"{line}\"\n{cluster}");
        Account::new().await.comes_up(&text, async |_, _| {}).await;
    }
}

//! First boots that are interrupted: the files of the database exist, its users do not.
//!
//! A server creates its users when it is first elected, long after its files appear. A start without the first passwords that gets so far
//! creates them with `changeit` (seen on 24.10.13), so every start must be given them.

use std::time::{Duration, Instant};

use testkit::cluster::Cluster;
use testkit::database::logins_with_password;
use tokio::time::sleep;

use super::account::Account;

const FILES_WITHIN: Duration = Duration::from_secs(30);
const DEFAULT: &str = "changeit";

/// Takes the first task of node-1 away as soon as its server has made its files.
async fn lose_first_task(account: &Account, cluster: &mut Cluster<'_>) {
    let data_dir = account.data_dir("node-1");
    // Slow enough that no server makes its users before the task is lost.
    cluster.set("node-1", "STANDIN_TIME_SCALE", "4");
    cluster.start("node-1").await.unwrap();
    let deadline = Instant::now() + FILES_WITHIN;
    while !data_dir.join("writer.chk").exists() {
        assert!(Instant::now() < deadline, "the server makes no files");
        sleep(Duration::from_millis(1)).await;
    }
    cluster.kill("node-1").await.unwrap();
    assert_eq!(logins_with_password(&data_dir, DEFAULT).unwrap_or_default(), [""; 0]);
    cluster.set("node-1", "STANDIN_TIME_SCALE", "0.2");
}

async fn no_user_ever_had_the_default_password(text: &str) {
    let account = Account::new().await;
    account
        .comes_up_after(
            text,
            async |cluster| lose_first_task(&account, cluster).await,
            async |_, cluster| {
                for node in cluster.names() {
                    let logins = logins_with_password(&account.data_dir(node), DEFAULT).unwrap();
                    assert_eq!(logins, [""; 0], "{node}");
                }
            },
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn single_node_killed_before_its_users_exist_never_has_changeit() {
    no_user_ever_had_the_default_password("name = \"es\"\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_replaced_before_the_cluster_forms_never_has_changeit() {
    no_user_ever_had_the_default_password("name = \"es\"\ncluster.nodes = 3\n").await;
}

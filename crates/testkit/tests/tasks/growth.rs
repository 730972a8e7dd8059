//! A single node becomes a cluster of three in two deployments, as `cluster.grow_from` has it, and keeps what it had.

use super::account::Account;

#[tokio::test(flavor = "multi_thread")]
async fn a_single_node_becomes_a_cluster_and_keeps_what_it_had() {
    let account = Account::new().await;
    let single = "name = \"es\"\n";
    account.comes_up(single, async |proof, cluster| proof.write(cluster, "before").await).await;

    let grows = format!("{single}[cluster]\nnodes = 3\ngrow_from = 1\n");
    account
        .comes_up(&grows, async |proof, cluster| {
            assert_eq!(cluster.names(), ["node-1", "node-2"], "a majority with the data in it, and nobody else");
            proof.still_there(cluster, "before").await;
            proof.write(cluster, "between").await;
        })
        .await;

    let three = format!("{single}[cluster]\nnodes = 3\n");
    account
        .comes_up(&three, async |proof, cluster| {
            assert_eq!(cluster.names().len(), 3);
            for login in ["before", "between"] {
                proof.still_there(cluster, login).await;
            }
        })
        .await;
}

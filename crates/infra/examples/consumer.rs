//! A deployment, a resource of one's own beside it, and a service in a stack of its own that uses the database.

use std::error::Error;
use std::path::Path;

use infra::cfn::{LogicalId, Resource};
use infra::{Assembly, Config, Deployment, Export, FargateService, FargateSize, Port, SecretField, Stack, Stacks};
use serde_json::json;

/// What `eventstore.toml` would say.
const CONFIG: &str = r#"
name = "eventstore"

[[users]]
login = "orders"
"#;

/// From the configuration over the deployment to its stacks and those around it.
pub(crate) fn assembly() -> Result<Assembly, Box<dyn Error>> {
    let deployment = Deployment::new(Config::parse(CONFIG)?);
    let mut stacks = Stacks::new(&deployment);

    // In the stack with the file system, under an id that no resource of the deployment ever has: `OwnFileSystemIsBusy`.
    let file_system = LogicalId::new("FileSystem");
    let alarm = json!({
        "AlarmDescription": "The file system is close to its limit of operations",
        "Namespace": "AWS/EFS",
        "MetricName": "PercentIOLimit",
        "Dimensions": [{"Name": "FileSystemId", "Value": file_system.reference()}],
        "Statistic": "Maximum",
        "Period": 300,
        "EvaluationPeriods": 3,
        "Threshold": 90,
        "ComparisonOperator": "GreaterThanThreshold",
    });
    stacks.stateful_resources().add("FileSystemIsBusy", Resource::new("AWS::CloudWatch::Alarm", alarm));

    // A service that reads its credentials from the user's secret and opens its own way to the nodes.
    let image = "registry.example.com/orders:1.0.0".parse()?;
    let mut orders = FargateService::new(&deployment, "Orders", image, FargateSize::offered(256, 512)?);
    orders.import("EVENTSTORE_HOST", &Export::Host).import("EVENTSTORE_PORT", &Export::Port);
    orders.secret("EVENTSTORE_CONNECTION_STRING", "orders", SecretField::ConnectionString)?;
    orders.secret("EVENTSTORE_CA_CERTIFICATE", "orders", SecretField::CaCertificate)?;
    orders.connections().allow_to(&deployment.connections(), Port::tcp(2113))?;

    let mut stack = Stack::new("orders", "orders, a consumer of EventStoreDB");
    stack.add_service(&orders);
    stacks.add(stack);
    Ok(stacks.assembly()?)
}

/// Writes `cdk.out`; next: `cdk deploy --app cdk.out --all`.
fn main() -> Result<(), Box<dyn Error>> {
    Ok(assembly()?.write(Path::new("cdk.out"))?)
}

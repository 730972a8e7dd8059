//! What CloudWatch knows the numbers by: alarms name them, so they are a stable interface (docs/status.md).

/// The namespace.
pub const NAMESPACE: &str = "eventstore-fargate";
/// The dimension of all: the name under which clients find the database.
pub const DEPLOYMENT: &str = "Deployment";
/// The dimension of what is a node's: its name.
pub const NODE: &str = "Node";
/// The dimension of what is a user's: the login.
pub const USER: &str = "User";
/// 1 while the node's entry in Cloud Map is this task's, else 0; by node.
pub const REGISTERED: &str = "Registered";
/// Days until the published certificate expires, negative after that; by node.
pub const CERTIFICATE_DAYS_LEFT: &str = "CertificateDaysLeft";
/// Age of the current password in seconds; by user.
pub const ROTATION_AGE: &str = "RotationAge";

//! What is recorded of the traffic in a new VPC.

/// Which connections flow logs tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlowLogs {
    /// Those that a security group or network ACL refused.
    Rejected,
    /// All.
    All,
    /// None.
    Off,
}

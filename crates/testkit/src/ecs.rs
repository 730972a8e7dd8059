//! Task metadata and credentials endpoints of an ECS task.

//! Stand-in for EventStoreDB.

//! In-process double of AWS Secrets Manager and AWS Cloud Map.

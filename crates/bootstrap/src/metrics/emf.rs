//! CloudWatch embedded metric format: a log line that is a JSON object, of which CloudWatch Logs extracts metrics (CloudWatch
//! user guide, "Specification: Embedded metric format"). The awslogs driver hands lines on as they are.

use serde_json::{Map, Value, json};

use super::Sample;
use super::names::{CERTIFICATE_DAYS_LEFT, DEPLOYMENT, NAMESPACE, NODE, REGISTERED, ROTATION_AGE, USER};

/// One line for the node, and one for each user: a line has one value for each dimension. `new_errors` is how many errors
/// there were since the line before, `timestamp` is in milliseconds since 1970.
pub(super) fn lines(sample: &Sample, new_errors: u64, timestamp: u64) -> String {
    let mut node = Line::new(sample);
    if let Some(registered) = sample.registered {
        node.metric(REGISTERED, "None", json!(u8::from(registered)));
    }
    node.metric("Errors", "Count", json!(new_errors));
    if let Some(days) = sample.certificate_days_left {
        node.metric(CERTIFICATE_DAYS_LEFT, "None", json!(days));
    }
    if let Some(restarts) = sample.server_restarts {
        node.metric("ServerRestarts", "Count", json!(restarts));
    }
    node.property(NODE, json!(sample.node));
    if let Some(error) = &sample.last_error {
        node.property("LastErrorArea", json!(error.area.as_str()));
        node.property("LastErrorKind", json!(error.kind));
    }
    let mut text = node.to_text(&[DEPLOYMENT, NODE], timestamp);
    for (login, age) in &sample.rotation_ages {
        // The secret is the deployment's: all its nodes tell the same age.
        let mut user = Line::new(sample);
        user.metric(ROTATION_AGE, "Seconds", json!(age));
        user.property(USER, json!(login));
        text += &user.to_text(&[DEPLOYMENT, USER], timestamp);
    }
    text
}

/// What stands beside `_aws`, and the definitions of what is a metric of it.
struct Line {
    members: Map<String, Value>,
    metrics: Vec<Value>,
}

impl Line {
    fn new(sample: &Sample) -> Self {
        let mut line = Self { members: Map::new(), metrics: Vec::new() };
        line.property(DEPLOYMENT, json!(sample.deployment));
        line
    }

    fn property(&mut self, name: &str, value: Value) {
        self.members.insert(name.to_owned(), value);
    }

    fn metric(&mut self, name: &str, unit: &str, value: Value) {
        self.metrics.push(json!({"Name": name, "Unit": unit}));
        self.property(name, value);
    }

    fn to_text(&self, dimensions: &[&str], timestamp: u64) -> String {
        let directive = json!({"Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": self.metrics});
        let mut line = json!({"_aws": {"Timestamp": timestamp, "CloudWatchMetrics": [directive]}});
        line.as_object_mut().expect("it is an object").extend(self.members.clone());
        line.to_string() + "\n"
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::tests::{first_sample, sample};
    use super::*;

    const UNITS: [&str; 5] = ["Seconds", "Count", "Percent", "Bytes", "None"];

    /// Name, value and dimensions.
    type Extracted = (String, f64, Vec<(String, String)>);

    fn names(object: &Value) -> BTreeSet<&str> {
        object.as_object().unwrap().keys().map(String::as_str).collect()
    }

    /// Holds a line against the specification; gives what is extracted of it.
    fn extract(line: &str) -> Vec<Extracted> {
        assert!(line.len() <= 256 * 1024 && !line.contains('\n'));
        let root: Value = serde_json::from_str(line).unwrap();
        let aws = &root["_aws"];
        assert_eq!(names(aws), BTreeSet::from(["CloudWatchMetrics", "Timestamp"]));
        // Milliseconds: seconds of now would be in 1970, microseconds far from now.
        let timestamp = aws["Timestamp"].as_u64().unwrap();
        assert!((1_500_000_000_000..10_000_000_000_000).contains(&timestamp));
        let mut extracted = Vec::new();
        for directive in aws["CloudWatchMetrics"].as_array().unwrap() {
            assert_eq!(names(directive), BTreeSet::from(["Dimensions", "Metrics", "Namespace"]));
            let namespace = directive["Namespace"].as_str().unwrap();
            let allowed = |letter: char| letter.is_ascii_alphanumeric() || ".-_/#:".contains(letter);
            assert!((1..=255).contains(&namespace.len()) && namespace.chars().all(allowed));
            assert!(!namespace.starts_with("AWS/"));
            let sets = directive["Dimensions"].as_array().unwrap();
            assert!(!sets.is_empty());
            for set in sets {
                let set: Vec<_> = set.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
                assert!(set.len() <= 9 && set.iter().collect::<BTreeSet<_>>().len() == set.len());
                // A dimension's value is a text of 1 to 1024 ASCII characters that does not start with a colon.
                let dimension = |name: &str| {
                    let value = root[name].as_str().unwrap();
                    assert!((1..=1024).contains(&value.len()) && value.is_ascii() && !value.starts_with(':'));
                    (name.to_owned(), value.to_owned())
                };
                let dimensions: Vec<_> = set.iter().map(|name| dimension(name)).collect();
                let metrics = directive["Metrics"].as_array().unwrap();
                assert!((1..=100).contains(&metrics.len()));
                for metric in metrics {
                    assert_eq!(names(metric), BTreeSet::from(["Name", "Unit"]));
                    assert!(UNITS.contains(&metric["Unit"].as_str().unwrap()));
                    let name = metric["Name"].as_str().unwrap();
                    assert!((1..=255).contains(&name.len()));
                    extracted.push((name.to_owned(), root[name].as_f64().unwrap(), dimensions.clone()));
                }
            }
        }
        extracted
    }

    #[test]
    fn the_lines_keep_to_the_specification() {
        let text = lines(&sample(), 4, 1_795_651_200_123);
        let extracted: Vec<_> = text.lines().flat_map(extract).collect();
        let own = |more: (&str, &str)| {
            [("Deployment", "es.db.internal"), more].map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
        };
        let expected = [
            ("Registered", 1.0, ("Node", "node-1")),
            ("Errors", 4.0, ("Node", "node-1")),
            ("CertificateDaysLeft", 1.5, ("Node", "node-1")),
            ("ServerRestarts", 2.0, ("Node", "node-1")),
            ("RotationAge", 10.0, ("User", "admin")),
            ("RotationAge", 20.0, ("User", "ops")),
        ];
        assert_eq!(extracted, expected.map(|(name, value, more)| (name.to_owned(), value, own(more))));
        let node: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((&node["LastErrorArea"], &node["LastErrorKind"]), (&json!("credentials"), &json!("aws-denied")));
    }

    /// Every member that a line refers to is there, also when little is known.
    #[test]
    fn a_first_line_keeps_to_it_too() {
        let text = lines(&first_sample(), 0, 1_795_651_200_123);
        let extracted: Vec<_> = text.lines().flat_map(extract).map(|(name, value, _)| (name, value)).collect();
        assert_eq!(extracted, [("Registered".to_owned(), 0.0), ("Errors".to_owned(), 0.0)]);
    }

    #[test]
    fn the_text_is_frozen() {
        let text = lines(&sample(), 4, 1_795_651_200_123);
        let ages = text.lines().nth(1).unwrap();
        assert_eq!(
            ages,
            r#"{"Deployment":"es.db.internal","RotationAge":10,"User":"admin","_aws":{"CloudWatchMetrics":[{"Dimensions":[["Deployment","User"]],"Metrics":[{"Name":"RotationAge","Unit":"Seconds"}],"Namespace":"eventstore-fargate"}],"Timestamp":1795651200123}}"#
        );
    }
}

//! Where AWS may be asked without TLS: nowhere, unless whoever runs this says so.

use std::ffi::OsString;

/// What is wrong with the variables that tell where AWS is (`AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_<SERVICE>`; AWS SDKs and Tools
/// Reference Guide, "Service-specific endpoints"): each must be an `https://` address, or may be an `http://` one if
/// `is_http_allowed`. `twin` is the variable that allows it. An empty variable is not set.
pub fn endpoint_mistakes(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    is_http_allowed: bool,
    twin: &str,
) -> Vec<String> {
    let text =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned()));
    let endpoints = environment.into_iter().filter_map(text).filter(|(name, value)| {
        (name == "AWS_ENDPOINT_URL" || name.starts_with("AWS_ENDPOINT_URL_")) && !value.is_empty()
    });
    let begins =
        |value: &str, scheme: &str| value.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    let mut mistakes: Vec<_> = endpoints
        .filter(|(_, value)| !(begins(value, "https://") || (is_http_allowed && begins(value, "http://"))))
        .map(|(name, value)| {
            format!(
                "{name}: `{value}` is not an https address: whoever is on the way could read credentials and secrets; where \
                 nobody is, on this machine, --allow-http-endpoint ({twin}=true) lets an http address be used"
            )
        })
        .collect();
    mistakes.sort();
    mistakes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(environment: &[(&str, &str)], is_http_allowed: bool) -> Vec<String> {
        let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        endpoint_mistakes(environment, is_http_allowed, "TWIN")
    }

    #[test]
    fn plain_http_is_refused_by_name_and_value_unless_it_is_allowed() {
        let fine = [
            ("AWS_ENDPOINT_URL", "https://vpce-1.example"),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "HTTPS://a"),
            ("AWS_ENDPOINT_URL_S3", ""),
            ("HTTP_ENDPOINT", "http://not.ours"),
        ];
        assert_eq!(mistakes(&fine, false), [""; 0]);
        let plain = [("AWS_ENDPOINT_URL", "http://127.0.0.1:5000"), ("AWS_ENDPOINT_URL_SERVICEDISCOVERY", "HTTP://b")];
        assert_eq!(mistakes(&plain, true), [""; 0]);
        let told = mistakes(&plain, false);
        assert_eq!(told.len(), 2);
        assert!(
            told[0].starts_with("AWS_ENDPOINT_URL: `http://127.0.0.1:5000` is not an https address"),
            "{}",
            told[0]
        );
        assert!(told[0].contains("--allow-http-endpoint (TWIN=true)"), "{}", told[0]);
        assert!(told[1].starts_with("AWS_ENDPOINT_URL_SERVICEDISCOVERY: `HTTP://b`"), "{}", told[1]);
        assert_eq!(mistakes(&[("AWS_ENDPOINT_URL", "localhost:5000")], true).len(), 1, "an address has a scheme");
    }
}

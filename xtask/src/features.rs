//! That builds of parts of the workspace compile dependencies with the same features as the build of all of it, tests included:
//! else `cargo xtask demo` after `cargo xtask test` would compile half of everything once more.

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use crate::deny::cargo;

    type Features = BTreeMap<String, BTreeSet<String>>;

    fn features(selection: &[&str]) -> Features {
        let arguments = ["tree", "--locked", "--prefix", "none", "--format", "{p}\t{f}"];
        let listed =
            cargo(&crate::workspace(), &[&arguments[..], selection].concat()).map_err(|failure| failure.message);
        let mut features = Features::new();
        for (package, of_it) in listed.unwrap().lines().filter_map(|line| line.split_once('\t')) {
            let of_it = of_it.trim_end_matches(" (*)").to_owned();
            features.entry(package.trim_end_matches(" (proc-macro)").to_owned()).or_default().insert(of_it);
        }
        features
    }

    #[test]
    fn the_demo_and_the_images_for_tests_are_built_from_what_the_tests_were_built_from() {
        let all = features(&["--workspace", "--edges", "normal,build,dev"]);
        let parts = [
            &["--package", "xtask"][..],
            &["-p", "certgen", "-p", "bootstrap", "-p", "guard", "-p", "testkit"],
            &["-p", "certgen", "-p", "bootstrap", "-p", "guard", "-p", "infra", "-p", "testkit", "-p", "consumer"],
        ];
        for part in parts {
            let part = features(&[part, &["--edges", "normal,build"]].concat());
            assert!(part.len() > 100, "{part:?}");
            for (package, features) in part {
                let others = &all[&package];
                assert!(
                    features.is_subset(others),
                    "{package} has the features {features:?}, in the build of everything {others:?}; add what is missing to \
                     crates/testkit/Cargo.toml"
                );
            }
        }
    }
}

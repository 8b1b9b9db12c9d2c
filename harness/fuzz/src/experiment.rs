//! Experiment files.

use shakedown_contracts::plan::Plan;
use shakedown_plan::{Overrides, Source, compile, describe};

/// A file becomes plans that survive their own file, or problems that can be told.
pub(crate) fn hold(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let source = Source {
        path: "experiment.toml",
        text: &text,
        name: "experiment",
    };
    // A million trials are as good as a few, and take their time to draw.
    let overrides = Overrides {
        trials: Some(2),
        ..Overrides::default()
    };
    match compile(&source, &overrides) {
        Ok(plans) => {
            assert!(!plans.is_empty());
            for plan in plans {
                assert!(!describe(&plan).is_empty());
                let json = serde_json::to_string(&plan).expect("a plan is plain data");
                let again: Plan = serde_json::from_str(&json).expect("a plan reads itself");
                assert_eq!(serde_json::to_string(&again).ok(), Some(json));
            }
        }
        Err(error) => {
            assert!(!error.problems.is_empty());
            assert!(!error.to_string().is_empty());
        }
    }
}

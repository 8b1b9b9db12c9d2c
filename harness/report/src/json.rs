//! `verdict.json`: the verdict itself, for programs; its `format` field is the version.

use shakedown_contracts::verdict::RunVerdict;

/// The verdict as indented JSON with a newline at the end.
pub fn render(verdict: &RunVerdict) -> String {
    let mut text = serde_json::to_string_pretty(verdict)
        .expect("a verdict has text keys alone, and its numbers all print");
    text.push('\n');
    text
}

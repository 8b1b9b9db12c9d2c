//! The table that people read: one for each experiment, its variants side by side.
//!
//! `group` puts the plans of one experiment together, `row` makes the lines of its table, `value`
//! prints numbers, `summary` says what came out and what to do next, `paragraph` breaks lines.

mod group;
mod paragraph;
mod row;
mod summary;
mod value;

use shakedown_contracts::verdict::RunVerdict;

/// Where there is no terminal to ask.
const WIDTH_DEFAULT: u16 = 120;
/// Narrower than this no table can be read.
const WIDTH_MIN: u16 = 40;

/// The run as text without colours, no wider than `width` columns where that can be.
pub fn render(verdict: &RunVerdict, width: Option<u16>) -> String {
    let width = width.unwrap_or(WIDTH_DEFAULT).max(WIDTH_MIN);
    let mut out = String::new();
    for group in group::of(&verdict.experiments) {
        out.push_str(&group.render(width));
        out.push('\n');
    }
    out.push_str(&summary::render(verdict, usize::from(width)));
    out
}

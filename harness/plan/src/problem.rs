//! What is wrong with an experiment file, told as a compiler would tell it.
//!
//! Reading goes on after a problem, so that one attempt shows all of them. While reading, problems
//! are kept with byte offsets; lines and columns are worked out once, at the end.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use thiserror::Error;

use crate::Source;

/// Everything found wrong with one experiment file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct PlanError {
    /// At least one, in the order of the file.
    pub problems: Vec<Problem>,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            writeln!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// Whose fault a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// The experiment is wrong.
    Invalid,
    /// The experiment is right, but needs what this version or stage does not have.
    Unavailable,
}

/// One thing wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whose fault it is.
    pub kind: ProblemKind,
    /// Path of the experiment file; for an override, the option.
    pub path: String,
    /// Line, from 1; 0 where it is not in the file.
    pub line: usize,
    /// Column in characters, from 1; 0 where it is not in the file.
    pub column: usize,
    /// Length of the marked text in characters, at least 1.
    pub width: usize,
    /// The key it is about, such as `workload.rate`; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The line of the file; empty where it is not in the file.
    pub source_line: String,
    /// The variant or matrix row it is found in, where not all plans of the file have it.
    pub only_in: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if self.line == 0 {
            write!(f, "\n  --> {}", self.path)?;
        } else {
            let number = self.line.to_string();
            let gutter = " ".repeat(number.len());
            write!(
                f,
                "\n{gutter}--> {}:{}:{}",
                self.path, self.line, self.column
            )?;
            write!(
                f,
                "\n{gutter} |\n{number} | {}",
                self.source_line.trim_end()
            )?;
            // Tabs are kept, so that the marks stand below what they mark.
            let indent = self.source_line.chars().take(self.column - 1);
            let indent: String = indent.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            write!(f, "\n{gutter} | {indent}{}", "^".repeat(self.width))?;
        }
        if let Some(plan) = &self.only_in {
            write!(f, "\nnote: in {plan}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhelp: {hint}")?;
        }
        Ok(())
    }
}

/// A problem before lines and columns are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub kind: ProblemKind,
    /// Bytes of the file; `None`: an override.
    pub span: Option<Range<usize>>,
    pub key: String,
    pub message: String,
    pub hint: Option<String>,
}

/// Collects the problems of one plan.
#[derive(Debug, Default)]
pub(crate) struct Log(RefCell<Vec<Found>>);

/// A problem costs memory for its line; a file with more problems than this is no experiment.
const PROBLEMS_MAX: usize = 200;

impl Log {
    /// Keeps a problem that was put together elsewhere.
    pub fn push(&self, found: Found) {
        let mut problems = self.0.borrow_mut();
        if problems.len() < PROBLEMS_MAX && !problems.contains(&found) {
            problems.push(found);
        }
    }

    /// The experiment is wrong here.
    pub fn invalid(&self, span: &Range<usize>, key: &str, message: String, hint: Option<String>) {
        let (kind, span, key) = (ProblemKind::Invalid, Some(span.clone()), key.to_owned());
        self.push(Found {
            kind,
            span,
            key,
            message,
            hint,
        });
    }

    /// This version lacks what the experiment asks for here.
    pub fn unavailable(&self, span: &Range<usize>, key: &str, message: String, hint: String) {
        let (kind, span, key) = (ProblemKind::Unavailable, Some(span.clone()), key.to_owned());
        self.push(Found {
            kind,
            span,
            key,
            message,
            hint: Some(hint),
        });
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// All that was found.
    pub fn into_found(self) -> Vec<Found> {
        self.0.into_inner()
    }
}

impl Found {
    /// The same with line and column.
    pub fn locate(self, source: &Source<'_>, only_in: Option<String>) -> Problem {
        let Some(span) = self.span else {
            return Problem {
                kind: self.kind,
                path: self.key.clone(),
                line: 0,
                column: 0,
                width: 1,
                key: self.key,
                message: self.message,
                hint: self.hint,
                source_line: String::new(),
                only_in,
            };
        };
        let position = Position::of(source.text, &span);
        Problem {
            kind: self.kind,
            path: source.path.to_owned(),
            line: position.line,
            column: position.column,
            width: position.width,
            key: self.key,
            message: self.message,
            hint: self.hint,
            source_line: position.source_line.to_owned(),
            only_in,
        }
    }
}

/// Where a span lies, for people.
struct Position<'t> {
    line: usize,
    column: usize,
    width: usize,
    source_line: &'t str,
}

impl<'t> Position<'t> {
    /// A span over several lines is marked to the end of its first.
    fn of(text: &'t str, span: &Range<usize>) -> Self {
        let start = char_boundary(text, span.start);
        let end = char_boundary(text, span.end).max(start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..]
            .find('\n')
            .map_or(text.len(), |newline| start + newline);
        let source_line = text[line_start..line_end].trim_end_matches('\r');
        let marked_end = end.min(line_start + source_line.len()).max(start);
        Position {
            line: text[..line_start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            width: text[start..marked_end].chars().count().max(1),
            source_line,
        }
    }
}

/// The last character boundary at or before `offset`.
fn char_boundary(text: &str, offset: usize) -> usize {
    let mut boundary = offset.min(text.len());
    while !text.is_char_boundary(boundary) {
        boundary -= 1;
    }
    boundary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_not_bytes() {
        let text = "a = 1\nü = \"é\" # x\r\nlast";
        let start = text.find("\"é\"").unwrap();
        let position = Position::of(text, &(start..start + 4));
        assert_eq!((position.line, position.column, position.width), (2, 5, 3));
        assert_eq!(position.source_line, "ü = \"é\" # x");
        let end = Position::of(text, &(text.len()..text.len()));
        assert_eq!((end.line, end.column, end.width), (3, 5, 1));
    }
}

//! A finished trial in memory: what was planned, asked and seen.

use shakedown_contracts::event::EventRecord;
use shakedown_contracts::plan::Plan;

use crate::history::History;
use crate::timeline::Timeline;

/// What all metrics and checkers work on.
#[derive(Debug, Clone)]
pub struct Trial<'a> {
    /// The plan it followed.
    pub plan: &'a Plan,
    /// Which trial, from 1.
    pub index: u32,
    /// What clients asked and were told.
    pub history: &'a History,
    /// What else happened, in order of receipt.
    pub events: &'a [EventRecord],
    /// When phases began and faults were in effect.
    pub timeline: Timeline<'a>,
}

impl<'a> Trial<'a> {
    /// The trial, if its events say when its phases were.
    ///
    /// # Errors
    /// What is missing, in words.
    pub fn new(
        plan: &'a Plan,
        index: u32,
        history: &'a History,
        events: &'a [EventRecord],
    ) -> Result<Self, String> {
        let timeline = Timeline::new(plan, events)?;
        Ok(Trial {
            plan,
            index,
            history,
            events,
            timeline,
        })
    }
}

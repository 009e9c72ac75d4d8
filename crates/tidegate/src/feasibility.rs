//! Whether a pipeline can keep what it promises, as far as its own document tells.

use tidegate_config::{PathFacts, PipelineConfig, Severity, TransferConfig, assess, lint};

use crate::failure::{Failure, causes};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Feasibility {
    /// It cannot work, or cannot give the guarantee.
    pub(crate) mistakes: Vec<String>,
    /// It works, but perhaps not as meant.
    pub(crate) warnings: Vec<String>,
}

impl Feasibility {
    /// Weighs the guarantee and the numbers; what only the broker and the store know is looked at
    /// when the pipeline starts.
    pub(crate) fn of(config: &PipelineConfig) -> Self {
        let mut found = Self::default();
        let assessment = assess(config, &PathFacts::default());
        for hop in assessment.weakest_hop.iter().chain(&assessment.further_hops) {
            let (asked, given) = (assessment.requested, assessment.effective);
            let text = format!("spec.guarantee: {asked:?} is asked for, {given:?} is given: {hop}");
            found.mistakes.push(text);
        }
        if let Err(error) = tidegate_worker::check_rules(config) {
            found.mistakes.push(format!("spec: {}", causes(&error).join(": ")));
        }
        for finding in lint(config) {
            match finding.severity {
                Severity::Error => found.mistakes.push(finding.to_string()),
                Severity::Warning => found.warnings.push(finding.to_string()),
            }
        }
        found
    }

    /// The same for a bulk pipeline; what cannot work was refused when it was resolved.
    pub(crate) fn of_bulk(config: &TransferConfig) -> Self {
        let findings = tidegate_resolve::lint_transfer(config);
        let warnings = findings.iter().map(ToString::to_string).collect();
        Self { warnings, ..Self::default() }
    }

    /// Logs the warnings and refuses the mistakes.
    pub(crate) fn enforce(self, pipeline: &str) -> Result<(), Failure> {
        for warning in &self.warnings {
            tracing::warn!(pipeline, finding = warning, "the numbers may not be what is meant");
        }
        if self.mistakes.is_empty() {
            return Ok(());
        }
        let lines: String = self.mistakes.iter().map(|one| format!("\n  - {one}")).collect();
        Err(Failure::says(format!("{pipeline} cannot work as it is written{lines}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_refused_and_warnings_are_not() {
        let warned = Feasibility { warnings: vec!["w".into()], ..Default::default() };
        assert!(warned.enforce("p").is_ok());
        let wrong = Feasibility { mistakes: vec!["a: 1 > 0".into()], ..Default::default() };
        let failure = wrong.enforce("p").expect_err("a mistake");
        assert_eq!(failure.code(), 65);
        assert_eq!(failure.to_string(), "error: p cannot work as it is written\n  - a: 1 > 0");
    }
}

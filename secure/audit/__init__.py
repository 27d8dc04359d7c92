"""Audits: requests whose right answers are known, among the others. docs/audit.md says what they show."""

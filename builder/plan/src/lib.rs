//! Honefile as written, checked, and turned into a build plan

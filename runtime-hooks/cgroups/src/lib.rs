//! Make, limit, read, freeze and remove control groups

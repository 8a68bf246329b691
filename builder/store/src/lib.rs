//! OCI layout on disk, versions, staging, journal

//! Distribution: registries and other HTTP sources of models.

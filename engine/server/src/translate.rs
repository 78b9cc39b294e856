//! Between the wire and the model, both ways. From the wire everything is checked and an error names the field; to the
//! wire nothing can fail but what the wire has no word for.

mod batch;
mod command;

pub use batch::{batch_from_proto, proto_from_batch};
pub use command::{
    Call, add_note_from_proto, call_from_command, create_run_from_proto, decide_from_proto,
    delete_tags_from_proto, experiment_from_proto, finish_run_from_proto, proto_from_record,
    put_records_from_proto, remove_record_from_proto, set_params_from_proto, set_tags_from_proto,
    update_run_from_proto,
};

/// Most params, tags, keys or records in one call (MLflow's limit on entities).
pub const ENTITIES_PER_CALL: usize = 1_000;

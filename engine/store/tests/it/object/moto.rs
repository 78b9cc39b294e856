//! The client of the tests for a server that speaks S3.

use std::sync::Arc;

pub(crate) use e2e::Moto;
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;

/// A store of this process on the server.
pub(crate) fn store(moto: &Moto, bucket: &str) -> Arc<dyn ObjectStore> {
    let builder = AmazonS3Builder::new().with_bucket_name(bucket).with_allow_http(true);
    let builder = moto.environment().into_iter().fold(builder, |builder, (key, value)| {
        builder.with_config(key.to_ascii_lowercase().parse().unwrap(), value)
    });
    Arc::new(builder.build().unwrap())
}

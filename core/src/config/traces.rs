//! Where traces go.

use super::error::ConfigError;
use super::settings::Settings;

/// Where traces go, and as whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceOptions {
    /// Host and port of the collector.
    pub collector: String,
    /// The name of the service.
    pub service: String,
    /// The name of this instance of it; may be empty.
    pub instance: String,
    /// Of a million calls that are in no trace, how many begin one. A caller's trace is followed if that is recorded.
    pub per_million: u32,
}

impl TraceOptions {
    /// None if nobody asked for traces. What is refused, is so in etcd's words.
    pub(super) fn from_settings(settings: &Settings) -> Result<Option<Self>, ConfigError> {
        if !settings.switch("enable-distributed-tracing") {
            return Ok(None);
        }
        let rate = settings.signed("distributed-tracing-sampling-rate")?;
        if rate < 0 {
            return Err(ConfigError::invalid("tracing sampling rate must be positive"));
        }
        let too_much = || ConfigError::invalid("tracing sampling rate must be less than 1000000");
        Ok(Some(Self {
            collector: settings.text("distributed-tracing-address").to_owned(),
            service: settings.text("distributed-tracing-service-name").to_owned(),
            instance: settings.text("distributed-tracing-instance-id").to_owned(),
            per_million: u32::try_from(rate).ok().filter(|rate| *rate <= 1_000_000).ok_or_else(too_much)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Request, load};

    fn options(arguments: &[&str]) -> Result<Option<TraceOptions>, ConfigError> {
        let arguments: Vec<_> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        match load(&arguments, &[], |_| unreachable!("no file is named"))? {
            Request::Serve(config, _) => Ok(config.traces),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rates_count_only_where_there_are_traces() {
        assert_eq!(options(&["--distributed-tracing-sampling-rate=-1"]).unwrap(), None);
        let rate = |rate| {
            let rate = format!("--distributed-tracing-sampling-rate={rate}");
            options(&["--enable-distributed-tracing", &rate]).map(|options| options.unwrap().per_million)
        };
        assert_eq!(rate("1000000").unwrap(), 1_000_000);
        for (wrong, why) in [("-1", "must be positive"), ("1000001", "must be less than 1000000")] {
            let error = rate(wrong).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}

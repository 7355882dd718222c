//! The options of a source that affect how its items are read.

use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::options::{Form, OptionError};
use crate::time::{self, Micros};

/// How the items of one source are read. By default, times without an offset are UTC.
#[derive(Clone, Debug)]
pub struct Settings {
    zone: TimeZone,
    time_format: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            zone: TimeZone::UTC,
            time_format: None,
        }
    }
}

impl Settings {
    /// Reads the settings from all options of a source, a JSON object as text. `timezone`
    /// is the zone of times without an offset, and `time_format` the format of the
    /// sender's times; other options do not matter here.
    pub fn from_options(options: &str) -> Result<Self, OptionError> {
        let options: Map<String, Value> = serde_json::from_str(options)
            .map_err(|error| OptionError::NotAnObject(error.to_string()))?;
        let text = |name: &str, form: Form| {
            let value = options.get(name);
            value.map_or(Ok(None), |value| {
                form.check(name, value).map(|()| value.as_str())
            })
        };
        Ok(Self {
            zone: text("timezone", Form::TimeZone)?
                .and_then(time::zone)
                .unwrap_or(TimeZone::UTC),
            time_format: text("time_format", Form::TimeFormat)?.map(str::to_owned),
        })
    }

    /// A time in the source's own format.
    pub(super) fn formatted(&self, text: &str) -> Option<Micros> {
        let format = self.time_format.as_deref()?;
        Micros::from_format(format, text, &self.zone)
    }

    /// A time as [`Micros::from_any`] reads it.
    pub(super) fn time(&self, text: &str) -> Option<Micros> {
        Micros::from_any(text, &self.zone)
    }
}

//! Loads: requests per second over time, made up or from a file.

/// A load, second by second.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// What it is called in the table.
    pub name: String,
    /// Unix seconds of its first second, so that schedules fall where they would.
    pub begins: i64,
    rates: Vec<f32>,
    /// Seconds that each of `rates` lasts.
    step: u64,
}

/// The names of the loads that need no file.
pub const BUILT_IN: [&str; 5] = ["step", "ramp", "day", "burst", "noise"];

/// 1 September 2025, a Monday, 00:00 UTC.
const MONDAY: i64 = 1_756_684_800;
/// The most values of a file, so that a gap of centuries does not fill the memory with zeros.
const MOST: usize = 100_000_000;

impl Load {
    /// A load of one value per `step` seconds.
    pub fn new(name: &str, begins: i64, step: u64, rates: Vec<f32>) -> Self {
        Self { name: name.to_owned(), begins, rates, step: step.max(1) }
    }

    /// One of [`BUILT_IN`].
    pub fn built_in(name: &str) -> Option<Self> {
        let mut noise = Noise(0x5eed);
        let (title, secs, rate): (_, u32, &mut dyn FnMut(f64) -> f64) = match name {
            "step" => ("step 150 → 900 → 150", 3600, &mut |t| {
                if (600.0..1800.0).contains(&t) { 900.0 } else { 150.0 }
            }),
            "ramp" => ("ramp 100 → 1000 → 100", 3600, &mut |t| {
                let up = (t - 600.0) / 600.0;
                let down = (3000.0 - t) / 600.0;
                100.0 + 900.0 * up.min(down).clamp(0.0, 1.0)
            }),
            "day" => ("a day's wave 100 … 900", 86_400, &mut |t| {
                let wave = 0.5 - 0.5 * (t / 86_400.0 * std::f64::consts::TAU).cos();
                (100.0 + 800.0 * wave) * (1.0 + 0.05 * noise.normal())
            }),
            "burst" => ("bursts of a minute, 200 → 800", 7200, &mut |t| {
                if t % 900.0 >= 840.0 { 800.0 } else { 200.0 }
            }),
            "noise" => {
                ("noise of 10 % around 500", 14_400, &mut |_| 500.0 * (1.0 + 0.10 * noise.normal()))
            }
            _ => return None,
        };
        let rates = (0..secs).map(|t| rate(f64::from(t)).max(0.0) as f32).collect();
        Some(Self::new(title, MONDAY, 1, rates))
    }

    /// Reads one number per line, each the requests of one second; or `time,count` lines, each the
    /// requests since that time, spread evenly over the distance of the first two times. A time is
    /// a date, or a number of seconds, or of minutes if the headline says so. What is left out is 0.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut rates: Vec<f32> = Vec::new();
        let mut unit = 1;
        let mut first = None;
        let mut step = None;
        for (n, line) in text.lines().map(str::trim).enumerate() {
            let wrong = |expected: &str| format!("line {}: expected {expected}: {line:?}", n + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (time, value) = match line.split_once([',', ';', '\t']) {
                Some((time, value)) => (Some(time.trim()), value.trim()),
                None => (None, line),
            };
            let count = match value.parse::<f32>() {
                Ok(count) if count.is_finite() && count >= 0.0 => count,
                Err(_) if rates.is_empty() && n == 0 => {
                    unit = if line.to_lowercase().starts_with("minute") { 60 } else { 1 };
                    continue;
                }
                _ => return Err(wrong("a number of at least 0")),
            };
            if let Some(time) = time {
                let at = seconds(time, unit).ok_or_else(|| wrong("a time"))?;
                let past = at - *first.get_or_insert(at);
                if past > 0 {
                    let step = *step.get_or_insert(past);
                    let index = usize::try_from(past / step).unwrap_or(usize::MAX);
                    if past % step != 0 || index < rates.len() || index > MOST {
                        return Err(wrong(&format!(
                            "a time {step} s after the last, or a multiple"
                        )));
                    }
                    rates.resize(index, 0.0);
                } else if !rates.is_empty() {
                    return Err(wrong("a time after the last"));
                }
            }
            rates.push(count);
        }
        if rates.is_empty() {
            return Err("there is no number in it".to_owned());
        }
        let step = step.unwrap_or(1);
        rates.iter_mut().for_each(|r| *r /= step as f32);
        Ok(Self::new(name, first.unwrap_or(MONDAY), step as u64, rates))
    }

    /// The requests of one second.
    pub fn rate(&self, second: u64) -> f64 {
        let i = usize::try_from(second / self.step).unwrap_or(usize::MAX);
        self.rates.get(i).map_or(0.0, |r| f64::from(*r))
    }

    /// How long it is, in seconds.
    pub fn secs(&self) -> u64 {
        self.rates.len() as u64 * self.step
    }

    /// The most requests in a second.
    pub fn most(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f32::max).into()
    }

    /// So many times as much.
    pub fn times(mut self, factor: f32) -> Self {
        self.rates.iter_mut().for_each(|r| *r *= factor);
        self
    }

    /// The part from `from` to `to`, as fractions of the whole.
    pub fn part(&self, from: f64, to: f64) -> Self {
        let at = |share: f64| (self.rates.len() as f64 * share.clamp(0.0, 1.0)) as usize;
        let (from, to) = (at(from), at(to).max(at(from)));
        let begins = self.begins + (from as u64 * self.step) as i64;
        Self {
            name: self.name.clone(),
            begins,
            rates: self.rates[from..to].to_vec(),
            step: self.step,
        }
    }
}

/// Unix seconds of a date and time, or of a plain number of `unit` seconds each.
fn seconds(text: &str, unit: i64) -> Option<i64> {
    if let Ok(number) = text.parse::<f64>() {
        return Some((number * unit as f64) as i64);
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(at.as_second());
    }
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

/// A reproducible source of noise (SplitMix64).
pub(super) struct Noise(pub(super) u64);

impl Noise {
    pub(super) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Mean 0, deviation 1: the sum of twelve uniform numbers is close enough to a normal one.
    pub(super) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

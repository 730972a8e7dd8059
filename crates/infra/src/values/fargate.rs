//! Sizes of tasks.

use super::ValueError;

/// CPU units and memory of a task: a pair that Fargate offers (AWS, "Task size").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FargateSize {
    cpu: u32,
    memory_mib: u32,
}

/// CPU units that Fargate offers, with the memory it gives with them, in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FargateCpu {
    units: u32,
    least: u32,
    most: u32,
    step: u32,
}

const fn offer(units: u32, least: u32, most: u32, step: u32) -> FargateCpu {
    FargateCpu { units, least, most, step }
}

/// AWS, "Amazon ECS task definition parameters for Fargate", task size.
const FARGATE: [FargateCpu; 7] = [
    offer(256, 512, 2048, 512), // of 512, 1024 and 2048 only the last is enough for the server
    offer(512, 1024, 4096, 1024),
    offer(1024, 2048, 8192, 1024),
    offer(2048, 4096, 16_384, 1024),
    offer(4096, 8192, 30_720, 1024),
    offer(8192, 16_384, 61_440, 4096),
    offer(16_384, 32_768, 122_880, 8192),
];

/// The chunk cache alone takes 512 MiB, the heap grows with the number of streams (production-review row 40).
pub(crate) const LEAST_MEMORY_MIB: i64 = 2048;
/// With the most CPU units.
pub(crate) const MOST_MEMORY_MIB: i64 = 122_880;
/// CPU units that Fargate offers.
pub(crate) const CPU_UNITS: &[i64] = &[256, 512, 1024, 2048, 4096, 8192, 16_384];

impl FargateCpu {
    pub(crate) fn new(units: i64) -> Result<Self, String> {
        FARGATE.into_iter().find(|cpu| i64::from(cpu.units) == units).ok_or_else(|| {
            let allowed: Vec<_> = FARGATE.iter().map(|cpu| cpu.units.to_string()).collect();
            format!("`{units}` CPU units are not offered by Fargate; allowed are {}", allowed.join(", "))
        })
    }
}

impl FargateSize {
    /// A size for a service beside the database: CPU units, of which 1024 are one vCPU, and MiB.
    ///
    /// # Errors
    ///
    /// [`ValueError`]: Fargate does not offer it.
    pub fn offered(cpu: u32, memory_mib: u32) -> Result<Self, ValueError> {
        let size = FargateCpu::new(cpu.into()).and_then(|cpu| Self::at_least(0, cpu, memory_mib.into()));
        size.map_err(ValueError::new)
    }

    /// A size with enough memory for the server.
    pub(crate) fn new(cpu: FargateCpu, memory: i64) -> Result<Self, String> {
        Self::at_least(LEAST_MEMORY_MIB, cpu, memory)
    }

    fn at_least(enough: i64, cpu: FargateCpu, memory: i64) -> Result<Self, String> {
        let FargateCpu { units, least, most, step } = cpu;
        let least = i64::from(least).max(enough);
        let most = i64::from(most);
        match u32::try_from(memory) {
            Ok(memory_mib) if (least..=most).contains(&memory) && memory_mib.is_multiple_of(step) => {
                Ok(Self { cpu: units, memory_mib })
            }
            _ if least == most => Err(format!("`{memory}` MiB do not go with {units} CPU units; allowed are {least}")),
            _ => Err(format!(
                "`{memory}` MiB do not go with {units} CPU units; allowed are {least} to {most} in steps of {step}"
            )),
        }
    }

    /// CPU units; 1024 are one vCPU.
    pub fn cpu(self) -> u32 {
        self.cpu
    }

    /// Memory in MiB.
    pub fn memory_mib(self) -> u32 {
        self.memory_mib
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offers_are_those_that_the_configuration_shows() {
        let units: Vec<_> = FARGATE.iter().map(|cpu| i64::from(cpu.units)).collect();
        assert_eq!(units, CPU_UNITS);
        assert_eq!(FARGATE.iter().map(|cpu| i64::from(cpu.most)).max(), Some(MOST_MEMORY_MIB));
    }

    #[test]
    fn only_pairs_that_fargate_offers_exist() {
        let size = |cpu, memory| FargateCpu::new(cpu).and_then(|cpu| FargateSize::new(cpu, memory));
        for (cpu, memory) in [(256, 2048), (512, 4096), (8192, 20_480), (16_384, 122_880)] {
            let size = size(cpu, memory).unwrap();
            assert_eq!((i64::from(size.cpu()), i64::from(size.memory_mib())), (cpu, memory));
        }
        for (cpu, memory) in [(256, 512), (256, 4096), (1024, 2500), (1024, 9216), (8192, 18_432), (3, 4096), (-1, -1)]
        {
            assert!(size(cpu, memory).is_err(), "{cpu}/{memory}");
        }
    }
}

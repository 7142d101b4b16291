//! How the hardware queues of a device stand to each other and to those of other processes.
//!
//! Vulkan ranks queues in two ways. A queue's priority counts within its device; any number of queues can differ. Global
//! priority, and the number of shader cores, count on the whole hardware, but all queues of a family have the same. So
//! queues that are to stand above others there need a second family.

use crate::device::Options;
use ash::vk;

/// What a hardware queue was created with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Among the queues of its device, 0 to 1.
    pub priority: f32,
    /// Among all queues on the hardware.
    pub global: GlobalPriority,
    /// The shader cores that it may use, if not all of them.
    pub cores: Option<u32>,
}

/// A priority among all work on the hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GlobalPriority {
    /// What every process has that does not ask.
    Medium,
    /// Above it.
    High,
    /// Above everything.
    Realtime,
}

/// How queues are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranking {
    /// All alike.
    Equal,
    /// The first ones before the others, within the device.
    Descending,
    /// The first ones also before other processes, where there is a second family of compute queues and the driver grants it.
    Raised,
}

/// Queues with compute, all of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Family {
    pub(crate) index: u32,
    pub(crate) queues: u32,
    pub(crate) graphics: bool,
    pub(crate) timestamp_bits: u32,
    /// The global priorities that it can be created with.
    pub(crate) global: Vec<GlobalPriority>,
}

/// Queues of one family to be created.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Share {
    pub(crate) family: Family,
    /// One for each queue.
    pub(crate) priorities: Vec<f32>,
    pub(crate) global: GlobalPriority,
    pub(crate) cores: Option<u32>,
}

/// The queues to ask for, best first; the last is what every driver has. The first queues stand highest.
///
/// `families`: the one for most work first. `cores`: what can be shared out, 0 if the driver leaves no choice.
pub(crate) fn plans(families: &[Family], cores: u32, options: &Options) -> Vec<Vec<Share>> {
    let Some(main) = families.first() else {
        return Vec::new();
    };
    let mut plans = Vec::new();
    if let Some(second) = families.get(1) {
        let total = options.queues.min(main.queues);
        let raised = second
            .queues
            .min(RAISED_QUEUES)
            .min(total.saturating_sub(1));
        let left = (options.reserved_cores > 0)
            .then(|| cores.saturating_sub(options.reserved_cores))
            .filter(|left| *left > 0);
        let mut wanted = Vec::new();
        if options.ranking == Ranking::Raised {
            wanted.extend([GlobalPriority::Realtime, GlobalPriority::High]);
            wanted.retain(|priority| second.global.contains(priority));
        }
        if left.is_some() {
            wanted.push(GlobalPriority::Medium);
        }
        for global in wanted.into_iter().filter(|_| raised > 0) {
            let mut high = share(second, 0, raised, options.ranking);
            let mut rest = share(main, raised, total - raised, options.ranking);
            high.global = global;
            rest.cores = left;
            plans.push(vec![high, rest]);
        }
    }
    let total = options.queues.min(main.queues);
    plans.push(vec![share(main, 0, total, options.ranking)]);
    plans
}

/// `count` queues, of which the first has this place among all.
fn share(family: &Family, first: u32, count: u32, ranking: Ranking) -> Share {
    Share {
        family: family.clone(),
        priorities: (first..first + count)
            .map(|place| match (ranking, place) {
                (Ranking::Equal, _) | (_, 0) => 1.0,
                (_, 1) => 0.75,
                _ => 0.5,
            })
            .collect(),
        global: GlobalPriority::Medium,
        cores: None,
    }
}

/// What hangs on the description of one family's queues; to be kept while that is in use.
#[derive(Default)]
pub(crate) struct Links {
    global: vk::DeviceQueueGlobalPriorityCreateInfoKHR<'static>,
    cores: vk::DeviceQueueShaderCoreControlCreateInfoARM<'static>,
}

/// A plan in Vulkan's words; `links` has as many elements.
pub(crate) fn create_infos<'a>(
    plan: &'a [Share],
    links: &'a mut [Links],
) -> Vec<vk::DeviceQueueCreateInfo<'a>> {
    let infos = plan.iter().zip(links).map(|(share, links)| {
        let mut info = vk::DeviceQueueCreateInfo::default()
            .queue_family_index(share.family.index)
            .queue_priorities(&share.priorities);
        // Saying medium is the same as saying nothing, which needs no extension.
        if share.global != GlobalPriority::Medium {
            links.global.global_priority = share.global.into();
            info = info.push_next(&mut links.global);
        }
        if let Some(cores) = share.cores {
            links.cores.shader_core_count = cores;
            info = info.push_next(&mut links.cores);
        }
        info
    });
    infos.collect()
}

impl From<GlobalPriority> for vk::QueueGlobalPriorityKHR {
    fn from(priority: GlobalPriority) -> Self {
        match priority {
            GlobalPriority::Medium => Self::MEDIUM,
            GlobalPriority::High => Self::HIGH,
            GlobalPriority::Realtime => Self::REALTIME,
        }
    }
}

/// One queue for each of the two higher lanes.
const RAISED_QUEUES: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_of_one_family_descend_from_the_first_on() {
        let plans = plans(&[family(2, 8)], 0, &options(4, Ranking::Raised));
        assert_eq!(plans.len(), 1);
        assert_eq!(plans[0].len(), 1);
        assert_eq!(plans[0][0].priorities, [1.0, 0.75, 0.5, 0.5]);
        assert_eq!(plans[0][0].global, GlobalPriority::Medium);
    }

    #[test]
    fn nothing_is_ranked_that_need_not_be() {
        for ranking in [Ranking::Equal, Ranking::Descending] {
            let plans = plans(&two_families(), 16, &options(3, ranking));
            assert_eq!(plans.len(), 1);
            assert_eq!(plans[0].len(), 1);
        }
        let plans = plans(&two_families(), 0, &options(3, Ranking::Equal));
        assert_eq!(plans[0][0].priorities, [1.0; 3]);
    }

    #[test]
    fn raised_queues_come_from_the_second_family_and_fall_back_step_by_step() {
        let plans = plans(&two_families(), 0, &options(8, Ranking::Raised));
        let globals: Vec<_> = plans.iter().map(|plan| plan[0].global).collect();
        use GlobalPriority::{High, Medium, Realtime};
        assert_eq!(globals, [Realtime, High, Medium]);
        for plan in &plans[..2] {
            assert_eq!((plan[0].family.index, plan[1].family.index), (0, 2));
            assert_eq!(plan[0].priorities, [1.0, 0.75]);
            assert_eq!(plan[1].priorities, [0.5; 6]);
            assert_eq!(plan[1].global, Medium);
        }
        assert_eq!(plans[2].len(), 1);
        assert_eq!(plans[2][0].priorities.len(), 8);
    }

    #[test]
    fn only_what_the_family_knows_is_asked_for() {
        let mut families = two_families();
        families[1]
            .global
            .retain(|one| *one != GlobalPriority::Realtime);
        let plans = plans(&families, 0, &options(8, Ranking::Raised));
        assert_eq!(plans.len(), 2);
        assert_eq!(plans[0][0].global, GlobalPriority::High);
    }

    #[test]
    fn reserved_cores_are_taken_from_the_family_of_the_lower_lanes() {
        let options = Options {
            reserved_cores: 2,
            ..options(4, Ranking::Descending)
        };
        let plans = plans(&two_families(), 16, &options);
        assert_eq!(plans.len(), 2);
        let cores: Vec<_> = plans[0].iter().map(|share| share.cores).collect();
        assert_eq!(cores, [None, Some(14)]);
        assert_eq!(plans[1][0].cores, None);
    }

    #[test]
    fn cores_that_nobody_can_share_out_or_that_would_all_be_reserved_are_left_alone() {
        for (cores, reserved_cores) in [(0, 2), (2, 2), (16, 0)] {
            let options = Options {
                reserved_cores,
                ..options(4, Ranking::Descending)
            };
            assert_eq!(plans(&two_families(), cores, &options).len(), 1);
        }
    }

    #[test]
    fn a_single_queue_is_never_split_off() {
        let options = Options {
            reserved_cores: 1,
            ..options(1, Ranking::Raised)
        };
        let plans = plans(&two_families(), 16, &options);
        assert_eq!(plans.len(), 1);
        assert_eq!(plans[0][0].priorities, [1.0]);
    }

    fn two_families() -> [Family; 2] {
        [family(2, 8), family(0, 16)]
    }

    fn family(index: u32, queues: u32) -> Family {
        Family {
            index,
            queues,
            graphics: index == 0,
            timestamp_bits: 64,
            global: vec![
                GlobalPriority::Medium,
                GlobalPriority::High,
                GlobalPriority::Realtime,
            ],
        }
    }

    fn options(queues: u32, ranking: Ranking) -> Options {
        Options {
            queues,
            ranking,
            ..Options::default()
        }
    }
}

// Advantages by name: how much better than expected what was drawn is. Plain functions, for client and server alike.

export { type AdvantagesAndReturns, GAEAdvantage, type GAEOptions, tokenRewards } from './gae.ts'
export { GRPOAdvantage, type GroupOptions, type Rewards, RLOOAdvantage, type Scale } from './group.ts'

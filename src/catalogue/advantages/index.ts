// Advantages by name: how much better than expected what was drawn is. Plain functions, for client and server alike.

export { GAEAdvantage, tokenRewards } from './gae.ts'
export { GRPOAdvantage, RLOOAdvantage } from './group.ts'

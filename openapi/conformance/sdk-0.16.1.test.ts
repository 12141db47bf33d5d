import { describeSdk } from './describe-sdk.ts'

describeSdk('0.16.1')

import { describeSdk } from './describe-sdk.ts'

describeSdk('0.38.0')

import { describeSdk } from './describe-sdk.ts'

describeSdk('0.3.0')

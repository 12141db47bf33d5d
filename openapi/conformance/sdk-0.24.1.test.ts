import { describeSdk } from './describe-sdk.ts'

describeSdk('0.24.1')

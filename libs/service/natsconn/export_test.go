package natsconn

const DrainTime = drainTime

"""Reads results trees and AlgoPerf's logs into trials. Imports `scoring` but not `report`."""

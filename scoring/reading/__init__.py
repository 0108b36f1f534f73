"""Results trees and AlgoPerf's logs -> trials on one grid. Imports `scoring` but not `report`."""

package journeys

// FoldFigures is foldFigures, for tests.
var FoldFigures = foldFigures

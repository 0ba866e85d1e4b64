"""From a picture to crops of its faces, and back: pictures, detection, crops, coordinates, drawing."""

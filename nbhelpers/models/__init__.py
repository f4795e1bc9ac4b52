"""Networks, trees and ensembles: built, trained, searched, saved."""
